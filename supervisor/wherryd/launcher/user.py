"""Users by the container's own /etc/passwd and /etc/group. Must never trust those files or ask libnss.

A numeric id is a plain decimal number below 2^32 - 1; everything else is a name that must be listed.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from wherryd.kernel.errors import KernelError, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_ID = (1 << 32) - 2  # 2^32 - 1 means "leave it as it is" to the kernel
_MAX_SIZE = 4 << 20  # a file that is bigger is an attack on our memory
_MAX_DIGITS = 10


class User:
    """Who the command runs as. `home` is None when /etc/passwd does not know the user."""

    def __init__(self, uid: int, gid: int, groups: list[int], home: str | None) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


_FILES = ("/etc/passwd", "/etc/group")
_TICK = 10_000_000
"""Nanoseconds of the slowest clock from which the kernel stamps a change (CONFIG_HZ=100)."""

_SETTLED = 5 * _TICK
"""Nanoseconds until a change shows where the last one's time has more than whole ticks: the file system keeps
what the kernel's clock says."""

_SETTLED_ANYWHERE = 1_000_000_000
"""Nanoseconds until a change shows where nothing tells that seconds are not all that is kept."""

_last: tuple[tuple[Any, ...], User] | None = None


def resolve_again(text: str) -> User:
    """Do as `resolve`, without reading files that are those of the last time and have not changed since."""
    global _last  # noqa: PLW0603 - a worker has one root at a time
    stamps = _stamps()
    if stamps is None:
        return resolve(text)
    key = (text, *stamps)
    if _last is None or _last[0] != key:
        _last = key, resolve(text)
    return _last[1]


def _stamps() -> list[tuple[int, ...]] | None:
    """Return what changes when a file of the current root does; None where that is not certain."""
    stamps: list[tuple[int, ...]] = []
    now = time.time_ns()
    for path in _FILES:
        try:
            status = os.stat(path)
        except OSError:
            return None
        changed = status.st_ctime_ns
        if not stat.S_ISREG(status.st_mode) or not settled(changed, now):
            return None
        stamps.append((status.st_dev, status.st_ino, status.st_size, changed, status.st_mtime_ns))
    return stamps


def settled(changed: int, now: int) -> bool:
    """Say whether a file's next change is certain to show in its times, of which the last is `changed`.

    Both in nanoseconds. A container is entered soon after its start more often than not.
    """
    return now - changed >= (_SETTLED if changed % _TICK else _SETTLED_ANYWHERE)


def resolve(text: str) -> User:
    """Return the user for "", "name", "uid", "name:group" or "uid:gid", with supplementary groups as docker.

    Reads the files of the current root. Raises KernelError.
    """
    who, colon, which = text.partition(":")
    if (colon and not (who and which)) or not text.isprintable():
        raise _refused(text, "write it as name, uid, name:group or uid:gid")
    uid, gid, name, home = _find_user(who or "0")
    groups = _records("/etc/group", 4)
    if colon:
        return User(uid, _find_group(which, groups), [], home)
    extra = [_number(fields[2]) for fields in groups if name and name in fields[3].split(",")]
    return User(uid, gid, [group for group in extra if group is not None], home)


def _find_user(who: str) -> tuple[int, int, str, str | None]:
    number = _number(who)
    for fields in _records("/etc/passwd", 7):
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and (fields[0] == who or uid == number):
            return uid, gid, fields[0], fields[5] or "/"
    if number is None:
        raise _refused(who, "no such user in the image's /etc/passwd")
    return number, 0, "", None


def _find_group(which: str, groups: list[list[str]]) -> int:
    number = _number(which)
    if number is not None:
        return number
    for fields in groups:
        gid = _number(fields[2])
        if fields[0] == which and gid is not None:
            return gid
    raise _refused(which, "no such group in the image's /etc/group")


def _number(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    number = int(text) if plain else -1
    if number > _MAX_ID:
        raise _refused(text, f"ids go up to {_MAX_ID}")
    return number if plain else None


def _records(path: str, fields: int) -> list[list[str]]:
    lines = (line.split(":") for line in _read(path).split("\n"))
    return [line for line in lines if len(line) >= fields and line[0]]


def _read(path: str) -> str:
    try:
        # O_NONBLOCK: a fifo must not hold us up before we see that it is one
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise from_oserror(error, "open", path) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise KernelError("read", path, errno.EINVAL, "the image's file is not a regular file")
        if status.st_size > _MAX_SIZE:
            raise KernelError("read", path, errno.EFBIG, "the image's file is bigger than 4 MiB")
        return os.fsdecode(os.read(fd, status.st_size))
    finally:
        os.close(fd)


def _refused(text: str, why: str) -> KernelError:
    return KernelError("user", text, errno.EINVAL, why)
