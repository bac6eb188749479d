"""Control groups: where the hierarchies are, and one group's life, events and kill.

Owns the names of cgroupfs files. Must never choose where groups go or what their limits are.
"""

from __future__ import annotations

import errno
import os

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mounts import mountinfo


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


def remove_if_empty(path: str) -> bool:
    """Remove a cgroup; False, with nothing done, when something is in it. Raises KernelError."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise from_oserror(error, "cgroup", path) from error
    return True


def remove(path: str) -> None:
    """Remove an empty cgroup and the empty ones below it; one that is gone is fine. Raises KernelError."""
    try:
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_oserror(error, "cgroup", path) from error


def open_events(path: str) -> int:
    """Return a descriptor of cgroup.events: EPOLLPRI (never EPOLLIN) tells of changes since it was read."""
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
    """Say whether a live process is in the group or below; a group that is gone is empty."""
    try:
        return CgroupEvents(read(f"{path}/cgroup.events")).populated
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise


def cgroup_kill(path: str) -> None:
    """SIGKILL every process in the group and below, however they fork; no group is fine. Linux 5.14."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def read(path: str) -> str:
    """Return the text of a cgroup file. Raises KernelError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode()
        finally:
            os.close(fd)
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


def open_cgroup(path: str) -> int:
    """Return a descriptor of a cgroup's directory, for clone3. Raises KernelError."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open cgroup", path) from error
