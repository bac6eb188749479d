"""Control groups: where the hierarchies are, and one group's life, events, freezer and kill.

Owns the names of cgroupfs files. Must never choose where groups go or what their limits are.
"""

from __future__ import annotations

import errno
import os
import select
import time

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mounts import mountinfo

_FREEZE_TIMEOUT = 10.0  # seconds; a process in an uninterruptible sleep can hold a freeze up for ever


class Hierarchies:
    """Where cgroups are mounted: `v2` (None: nowhere) with its controllers, and each v1 controller's path."""

    def __init__(self, v2: str | None, v2_controllers: tuple[str, ...], v1: dict[str, str]) -> None:
        self.v2 = v2
        self.v2_controllers = v2_controllers
        self.v1 = v1

    @property
    def mode(self) -> str:
        """Return "v2", "hybrid" or "v1"."""
        if self.v2 is None:
            return "v1"
        return "hybrid" if self.v1 else "v2"


def find_hierarchies() -> Hierarchies:
    """Return the hierarchies mounted in this mount namespace. Raises KernelError."""
    v2: str | None = None
    v1: dict[str, str] = {}
    for mount in mountinfo():
        if mount.fstype == "cgroup2" and v2 is None:
            v2 = mount.mountpoint
        elif mount.fstype == "cgroup":
            named = [option for option in mount.super_options if option not in ("rw", "ro")]
            v1.update((option, mount.mountpoint) for option in named if "=" not in option)
    controllers = tuple(read(f"{v2}/cgroup.controllers").split()) if v2 else ()
    return Hierarchies(v2, controllers, v1)


class CgroupEvents:
    """What cgroup.events says: whether a process is in the group or below, and whether all are frozen."""

    def __init__(self, text: str) -> None:
        values = dict(line.split(" ", 1) for line in text.splitlines())
        self.populated = values.get("populated") == "1"
        self.frozen = values.get("frozen") == "1"


def create(path: str) -> None:
    """Make a cgroup whose parent exists. Raises KernelError."""
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        raise from_oserror(error, "cgroup", path) from error


def remove(path: str) -> None:
    """Remove an empty cgroup and the empty ones below it; one that is gone already is fine. Raises KernelError."""
    try:
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_oserror(error, "cgroup", path) from error


def open_events(path: str) -> int:
    """Return a descriptor of cgroup.events: EPOLLPRI (never EPOLLIN) tells that it changed since the last read."""
    try:
        return os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open", f"{path}/cgroup.events") from error


def read_events(events: int) -> CgroupEvents:
    """Read through a descriptor of `open_events`, which arms its EPOLLPRI again. Raises KernelError."""
    try:
        return CgroupEvents(os.pread(events, 4096, 0).decode())
    except OSError as error:
        raise from_oserror(error, "read", "cgroup.events") from error


def populated(path: str) -> bool:
    """Say whether a live process (a zombie counts until reaped) is in the group or below; a group that is gone is empty."""
    try:
        return CgroupEvents(read(f"{path}/cgroup.events")).populated
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise


def procs(path: str) -> list[int]:
    """Return the pids in the group itself. Raises KernelError."""
    return [int(pid) for pid in read(f"{path}/cgroup.procs").split()]


def cgroup_kill(path: str) -> None:
    """SIGKILL every process in the group and below, however they fork; a group that is gone is fine. Linux 5.14."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def freeze(path: str, timeout: float = _FREEZE_TIMEOUT) -> None:
    """Stop every process in the group; returns when all stand still. Raises KernelError (ETIMEDOUT).

    Blocks: call it in a worker thread.
    """
    _set_freezer(path, frozen=True, timeout=timeout)


def thaw(path: str, timeout: float = _FREEZE_TIMEOUT) -> None:
    """Let a frozen group go on; returns when it does. As `freeze`."""
    _set_freezer(path, frozen=False, timeout=timeout)


def _set_freezer(path: str, *, frozen: bool, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    events = open_events(path)
    try:
        with select.epoll() as poll:
            poll.register(events, select.EPOLLPRI)
            write(f"{path}/cgroup.freeze", "1" if frozen else "0")
            while read_events(events).frozen is not frozen:
                left = deadline - time.monotonic()
                if left <= 0:
                    hint = "a process waits for the disk or a device and cannot be stopped now"
                    raise KernelError("cgroup.freeze", path, errno.ETIMEDOUT, hint)
                poll.poll(left)
    finally:
        os.close(events)


def read(path: str) -> str:
    """Return the text of a cgroup file. Raises KernelError."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError as error:
        raise from_oserror(error, "read", path) from error


def write(path: str, text: str) -> None:
    """Write a cgroup file in one call, as cgroupfs wants it. Raises KernelError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise from_oserror(error, "write", path) from error
