"""Control groups: one group's life, events and kill, of either version.

Owns how cgroupfs files are read and written. Must never choose where groups go or what their limits are.
"""

from __future__ import annotations

import errno
import os

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.pidfd import pidfd_open, pidfd_send_signal
from wherryd.kernel.procfs import cgroup_pids

GONE = (errno.ENOENT, errno.ENODEV)
"""What an operation on a group that is gone, or on a file that it has not, fails with."""

_SIGKILL = 9
_KILL_ROUNDS = 100
"""More than any forking outlasts: each ends all that were there, and the next sees what they forked."""


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
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise from_oserror(error, "cgroup", path) from error
        _remove_all(path)


def _remove_all(path: str) -> None:
    try:
        # What os.walk cannot look into it passes over, and it would be left without a word.
        for directory, _, _ in os.walk(path, topdown=False, onerror=_raise):
            os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_oserror(error, "cgroup", path) from error


def _raise(error: OSError) -> None:
    raise error


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
        if error.errno in GONE:
            return False
        raise


def cgroup_kill(path: str) -> None:
    """SIGKILL every process of a group and below, however they fork; no group is fine. Raises KernelError."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except KernelError as error:
        if error.errno not in GONE:
            raise
        if os.path.isdir(path):
            kill_each(path)


def kill_each(path: str) -> None:
    """Do what cgroup.kill does where the kernel has none (before Linux 5.14): freeze, signal each, thaw.

    What is frozen neither forks nor frees its number; SIGKILL ends it all the same.
    """
    _write_if_there(f"{path}/cgroup.freeze", "1")
    try:
        for _ in range(_KILL_ROUNDS):
            alive = cgroup_pids(path)
            if not alive:
                return
            _signal_those_still_there(path, alive)
    finally:
        _write_if_there(f"{path}/cgroup.freeze", "0")


def _signal_those_still_there(path: str, pids: list[int]) -> None:
    held = {pid: fd for pid in pids if (fd := _pidfd_if_there(pid)) is not None}
    try:
        # A number that is in the group after its descriptor was opened is that process's.
        for pid in held.keys() & set(cgroup_pids(path)):
            _kill_if_there(held[pid])
    finally:
        for fd in held.values():
            os.close(fd)


def _pidfd_if_there(pid: int) -> int | None:
    try:
        return pidfd_open(pid)
    except KernelError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise


def _kill_if_there(pidfd: int) -> None:
    try:
        pidfd_send_signal(pidfd, _SIGKILL)
    except KernelError as error:
        if error.errno != errno.ESRCH:
            raise


def _write_if_there(path: str, text: str) -> None:
    try:
        write(path, text)
    except KernelError as error:
        if error.errno not in GONE:
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


def open_tasks(path: str) -> int:
    """Return a descriptor of a v1 group's `tasks`: a thread that writes "0" moves itself there.

    Unlike a write to cgroup.procs that waits for no grace period of RCU, which takes 5 to 13 ms.
    """
    try:
        return os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open", f"{path}/tasks") from error
