"""The kernel's count of OOM kills in a cgroup, and being told that it may have changed.

v2: memory.events, which EPOLLPRI tells of (also of a limit that was merely reached). v1: memory.oom_control,
which an eventfd tells of *before* the kernel chooses whom to kill: the count follows some milliseconds later.
Both count a kill before the victim gets its SIGKILL, so whoever saw the victim's end reads a count with it.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from wherryd.kernel.accounting import flat, read
from wherryd.kernel.errors import from_oserror
from wherryd.kernel.procfs import read_stat, read_status

_SIGKILL_BIT = 1 << 8
_FILES = {1: "memory.oom_control", 2: "memory.events"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kills:
    """`oom_kill` counts processes, of whatever OOM; `oom_group_kill` whole groups (v2, Linux 5.17)."""

    oom_kill: int = 0
    oom_group_kill: int = 0


def read_kills(path: str, version: int) -> Kills | None:
    """Return the counts of a group of the memory controller; None when it has none. Raises KernelError."""
    text = read(f"{path}/{_FILES[version]}")
    counts = {} if text is None else flat(text)
    if "oom_kill" not in counts:
        return None
    return Kills(oom_kill=counts["oom_kill"], oom_group_kill=counts.get("oom_group_kill", 0))


class OomNotice:
    """A descriptor that epoll watches for `events`. Owned until `close`; raises KernelError when made."""

    def __init__(self, path: str, version: int) -> None:
        self.events = select.EPOLLIN if version == 1 else select.EPOLLPRI
        self._version = version
        try:
            self.fd = _register(path) if version == 1 else _open(f"{path}/{_FILES[2]}", os.O_RDONLY)
        except OSError as error:
            raise from_oserror(error, "watch", f"{path}/{_FILES[version]}") from error

    def rearm(self) -> None:
        """Have what happens from now on told. Raises KernelError when the group is gone."""
        try:
            if self._version == 1:
                os.eventfd_read(self.fd)
            else:
                os.pread(self.fd, 4096, 0)
        except BlockingIOError:
            return
        except OSError as error:
            raise from_oserror(error, "read", _FILES[self._version]) from error

    def close(self) -> None:
        """Close it; v1 forgets the eventfd by that."""
        os.close(self.fd)


def _register(path: str) -> int:
    """Return an eventfd that a v1 group writes to: "<eventfd> <file>" (cgroup-v1/memory.rst, 9)."""
    eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        file = _open(f"{path}/{_FILES[1]}", os.O_RDONLY)
        try:
            control = _open(f"{path}/cgroup.event_control", os.O_WRONLY)
            try:
                os.write(control, b"%d %d" % (eventfd, file))
            finally:
                os.close(control)
        finally:
            os.close(file)
    except BaseException:
        os.close(eventfd)
        raise
    return eventfd


def _open(path: str, mode: int) -> int:
    return os.open(path, mode | os.O_CLOEXEC)


def is_dying(pid: int, pidfd: int) -> bool:
    """Say whether a process has ended, or ends by a SIGKILL that it has got. Raises KernelError."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    stat, status = read_stat(pid), read_status(pid)
    if poll.poll(0) or stat is None or stat.ended:
        return True
    return any(int(status.get(key, "0"), 16) & _SIGKILL_BIT for key in ("SigPnd", "ShdPnd"))
