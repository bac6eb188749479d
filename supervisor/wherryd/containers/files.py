"""A container's own directory on the host: the overlay's upper and work directories and its /etc files.

<state>/containers/<id>/upper work log log.index hosts hostname resolv.conf
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from wherry_protocol.errors import ImageError, KernelFailure, NoSpace

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.containers.config import Config
    from wherryd.containers.spares import Spares
    from wherryd.network.hosts import Etc

_NO_SPACE = (28, 30, 122)
"""ENOSPC, EROFS, EDQUOT."""

_UPPER_MODE = 0o755

ETC_FILES = ("hosts", "hostname", "resolv.conf")


def make(base: str) -> None:
    """Make an empty container directory. Raises OSError."""
    os.mkdir(base, 0o700)
    os.mkdir(base + "/upper", _UPPER_MODE)
    os.mkdir(base + "/work", 0o700)
    for name in ETC_FILES:
        _write(f"{base}/{name}", b"")


def prepare(directory: Path, config: Config, etc: Etc, spares: Spares) -> bool:
    """Make (or make again) everything a start needs; say whether the log is ready and empty, too.

    `etc` is what the files of ETC_FILES say.

    Raises NoSpace, ImageError, KernelFailure.
    """
    layer = config.image.layers[0]
    try:
        root = os.stat(layer)
    except OSError as error:
        raise ImageError(f"image directory {layer}: {error.strerror}", path=layer) from error
    try:
        return _prepare(str(directory), etc, root, spares)
    except OSError as error:
        kind = NoSpace if error.errno in _NO_SPACE else KernelFailure
        raise kind(
            f"container directory {error.filename or directory}: {error.strerror}",
            errno=error.errno,
            path=str(error.filename or directory),
        ) from error


def _prepare(base: str, etc: Etc, root: os.stat_result, spares: Spares) -> bool:
    spare = False
    if os.path.isdir(base):
        # Another run: overlayfs refuses a work directory that a volatile mount left (overlayfs.rst, "Volatile
        # mount"), and nothing in it is of use.
        shutil.rmtree(base + "/work", ignore_errors=True)
        os.mkdir(base + "/work", 0o700)
    else:
        spare = spares.take(base)
        if not spare:
            make(base)
        _own_root(base + "/upper", root)
    for name, text in zip(ETC_FILES, etc, strict=True):
        _write(f"{base}/{name}", text)
    return spare


def _own_root(upper: str, root: os.stat_result) -> None:
    """Give / of the container its owner and mode: overlayfs takes them from the upper directory.

    A directory image may be anybody's private one: its root is opened to the container's users as an
    unpacked image's would be.
    """
    mode = root.st_mode & 0o7777 | 0o555
    if mode != _UPPER_MODE:
        os.chmod(upper, mode)
    if root.st_uid or root.st_gid:
        os.chown(upper, root.st_uid, root.st_gid)


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
