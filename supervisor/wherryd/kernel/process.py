"""What the launcher sets about itself: name, traceability, reaping. Must never touch another process."""

from __future__ import annotations

import ctypes

from wherryd.kernel.syscalls import prctl, prctl_text

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_ARG_START, _ARG_END = 47, 48  # proc(5): fields 48 and 49 of /proc/PID/stat


def set_comm(name: str) -> None:
    """Set the thread's name (`ps -o comm`); the kernel keeps 15 bytes."""
    prctl_text(_PR_SET_NAME, name)


def set_title(title: str) -> None:
    """Set what `ps` shows as the command line, by writing over the arguments in place, and the name."""
    set_comm(title)
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b") ")[2].split()
    start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    room = end - start
    ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


def set_undumpable() -> None:
    """Keep others from tracing this process and from reaching its descriptors; lasts until execve."""
    prctl(_PR_SET_DUMPABLE, 0)


def set_child_subreaper() -> None:
    """Inherit the orphans among our descendants."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
