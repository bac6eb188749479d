"""A container's own directory on the host: the overlay's upper and work directories and its /etc files.

<state>/containers/<id>/upper work log log.index hosts hostname resolv.conf, and what logs/pieces.py tells of
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.errors import KernelFailure, NoSpace
from wherryd.kernel import failpoints
from wherryd.kernel.hints import hint as known_hint

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.containers.config import Config
    from wherryd.containers.spares import Spares
    from wherryd.network.hosts import Etc

_NO_SPACE = (28, 30, 122)
"""ENOSPC, EROFS, EDQUOT."""

UPPER_MODE = 0o755

ETC_FILES = ("hosts", "hostname", "resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Where a container's directory comes from. `log_ready`: its log is there, and empty.

    `former` is what it was called when it was promised, if it was; `successor` is what the next container of
    the image is promised, if it is.
    """

    log_ready: bool = False
    former: str | None = None
    successor: str | None = None


NEW = Taken()
"""It is its own from the first, or from an earlier run."""


def make(base: str) -> None:
    """Make an empty container directory. Raises OSError."""
    os.mkdir(base, 0o700)
    os.mkdir(base + "/upper", UPPER_MODE)
    os.mkdir(base + "/work", 0o700)
    for name in ETC_FILES:
        _write(f"{base}/{name}", b"")


def prepare(directory: Path, config: Config, etc: Etc, spares: Spares) -> Taken:
    """Make (or make again) everything a start needs.

    `etc` is what the files of ETC_FILES say.

    Raises NoSpace, ImageError, KernelFailure.
    """
    try:
        return _prepare(str(directory), config, etc, spares)
    except OSError as error:
        kind = NoSpace if error.errno in _NO_SPACE else KernelFailure
        raise kind(
            f"container directory {error.filename or directory}: {error.strerror}",
            hint=known_hint("open", error.errno or 0),
            errno=error.errno,
            path=str(error.filename or directory),
        ) from error


def _prepare(base: str, config: Config, etc: Etc, spares: Spares) -> Taken:
    taken = NEW
    failpoints.hit("start.directory")
    if os.path.isdir(base):
        # Another run: overlayfs refuses a work directory that a volatile mount left (overlayfs.rst, "Volatile
        # mount"), and nothing in it is of use.
        with suppress(FileNotFoundError):
            shutil.rmtree(base + "/work")
        os.mkdir(base + "/work", 0o700)
    else:
        taken = spares.take(base, config)
    for name, text in zip(ETC_FILES, etc, strict=True):
        _write(f"{base}/{name}", text)
    return taken


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
