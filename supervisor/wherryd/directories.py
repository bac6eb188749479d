"""The supervisor's directories: made private, checked, and held by one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, NoSpace, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.settings import Settings

_FULL = (28, 30, 122)
"""ENOSPC, EROFS, EDQUOT."""


class Held(Conflict):
    """Another supervisor has the directory."""


class DirectoryLocks:
    """The locks on a supervisor's state and run directory; held until the process ends, however it ends."""

    def __init__(self, settings: Settings) -> None:
        self._fds: list[int] = []
        for directory, flag in ((settings.state_dir, "--state-dir"), (settings.run_dir, "--run-dir")):
            self._fds.append(_lock(directory / "lock", directory, flag))


def make_directories(settings: Settings) -> None:
    """Make what is missing, owned by us, mode 0700. Raises BadRequest or NoSpace naming the directory."""
    for directory in (
        settings.state_dir,
        settings.run_dir,
        settings.containers_dir,
        settings.images_dir,
        settings.volumes_dir,
        settings.records_dir,
        settings.trash_dir,
        settings.spare_dir,
        settings.mountpoint,
    ):
        _make(directory)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise BadRequest(
                f"{directory} is not a directory of uid {os.geteuid()}",
                hint="wherry's directories must be its own: choose another or fix the owner",
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        kind: type[WherryError] = NoSpace if error.errno in _FULL else BadRequest
        raise kind(
            f"{directory} cannot be used: {error.strerror}",
            hint="choose another with --state-dir or --run-dir",
            errno=error.errno,
            path=str(directory),
        ) from error


def _lock(path: Path, directory: Path, flag: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise Held(
            f"another supervisor (pid {holder}) holds {directory}",
            hint=f"use that one, or choose another directory with {flag}",
            path=str(directory),
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
