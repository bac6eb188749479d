"""What a process may set about itself: name, privileges, keyring, reaping. Must never touch another process."""

from __future__ import annotations

import ctypes

from wherryd.kernel.syscalls import KEYCTL_JOIN_SESSION_KEYRING, keyctl, prctl, prctl_text

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_ARG_START, _ARG_END = 47, 48  # proc(5): fields 48 and 49 of /proc/PID/stat


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]  # noqa: RUF012 - ctypes demands a list


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


def set_no_new_privs() -> None:
    """Make setuid bits and file capabilities inert, for ever."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_bounding(capability: int) -> None:
    """Drop a capability from the bounding set."""
    prctl(_PR_CAPBSET_DROP, capability)


def join_new_session_keyring() -> None:
    """Leave the session keyring we inherited for an empty one."""
    keyctl(KEYCTL_JOIN_SESSION_KEYRING, None)


def install_seccomp(program: bytes) -> None:
    """Install a filter: `program` is an array of struct sock_filter. seccomp(2)."""
    code = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len=len(program) // 8, filter=ctypes.addressof(code))
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(fprog))
