"""What the host's /proc says of a process, which may end between any two reads: what is gone is None.

Must never wait for a process: only `read_cmdline` touches its memory.
"""

from __future__ import annotations

import errno
import os

from wherryd.kernel.errors import from_oserror

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

_PF_EXITING = 0x4
_GONE = (errno.ENOENT, errno.ESRCH)


class Stat:
    """The fields of /proc/PID/stat that we use, by their names in proc(5). Times are in clock ticks."""

    def __init__(self, pid: int, text: str) -> None:
        head, _, tail = text.rpartition(") ")
        fields = tail.split()
        self.pid = pid
        self.comm = head.partition(" (")[2]
        self.state = fields[0]
        self.ppid, self.pgrp, self.session, self.tty_nr = map(int, fields[1:5])
        self.flags = int(fields[6])
        self.utime, self.stime = int(fields[11]), int(fields[12])
        self.nice, self.num_threads = int(fields[16]), int(fields[17])
        self.starttime = int(fields[19])
        self.vsize, self.rss = int(fields[20]), int(fields[21]) * PAGE

    @property
    def ended(self) -> bool:
        """Whether it is dead, or about to be (PF_EXITING), and perhaps not yet reaped."""
        return self.state in "ZXx" or bool(self.flags & _PF_EXITING)


def read_stat(pid: int) -> Stat | None:
    """Return /proc/PID/stat. Raises KernelError."""
    text = _read(f"/proc/{pid}/stat")
    return None if text is None else Stat(pid, text)


def read_status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a map; empty when it is gone. Raises KernelError."""
    text = _read(f"/proc/{pid}/status") or ""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def read_wchan(pid: int) -> str | None:
    """Return the function of the kernel's that it waits in; None when it is gone, or that is not told."""
    text = _read(f"/proc/{pid}/wchan")
    return text if text and text != "0" else None


def read_cmdline(pid: int) -> tuple[str, ...]:
    """Return the arguments; none when it is gone. Waits for the process's memory map: use a thread."""
    text = _read(f"/proc/{pid}/cmdline") or ""
    return tuple(text.removesuffix("\0").split("\0")) if text else ()


def cgroup_pids(path: str) -> list[int]:
    """Return the processes in a cgroup and below; none when it is gone. Raises KernelError."""
    pids: list[int] = []
    for directory, _, _ in os.walk(path):
        text = _read(f"{directory}/cgroup.procs") or ""
        pids += map(int, text.split())
    return pids


def _read(path: str) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.fsdecode(b"".join(iter(lambda: os.read(fd, 65536), b"")))
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (*_GONE, errno.ENODEV):
            return None
        raise from_oserror(error, "read", path) from error
