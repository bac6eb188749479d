"""System calls that the standard library has not: C names, C argument order, KernelError on failure.

Owns every prototype and structure but those of mounts (mount_syscalls.py). Must never know what a call is
used for.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_long, c_uint, c_uint64, c_ulong, c_void_p

from wherryd.kernel.errors import KernelError
from wherryd.kernel.libc import checked, function, numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_VM = 0x00000100
CLONE_PIDFD = 0x00001000
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 0x200000000

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

IN_DELETE, IN_Q_OVERFLOW, IN_ONLYDIR = 0x200, 0x4000, 0x01000000

SFD_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
KEYCTL_JOIN_SESSION_KEYRING = 1
SIG_SETMASK = 2

# Calls since Linux 5.1 have one number on every architecture; older ones do not.
_CLONE3 = 435
_PIDFD_OPEN, _PIDFD_SEND_SIGNAL = 434, 424
_CLOSE_RANGE, _OPENAT2 = 436, 437


class CloneArgs(ctypes.Structure):
    """`struct clone_args` of clone(2)."""

    _fields_ = [
        ("flags", c_uint64),
        ("pidfd", c_uint64),
        ("child_tid", c_uint64),
        ("parent_tid", c_uint64),
        ("exit_signal", c_uint64),
        ("stack", c_uint64),
        ("stack_size", c_uint64),
        ("tls", c_uint64),
        ("set_tid", c_uint64),
        ("set_tid_size", c_uint64),
        ("cgroup", c_uint64),
    ]


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = [("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64)]


_RT_SIGACTION = 13 if os.uname().machine == "x86_64" else 134
_SIGACTION_SIZE, _SIGSET_SIZE = 32, 8


_setns = function("setns", c_int, c_int)
_unshare = function("unshare", c_int, gil=False)
_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_prctl_text = function("prctl", c_int, c_char_p, c_ulong, c_ulong, c_ulong)
_sethostname = function("sethostname", c_char_p, c_ulong)
_signalfd = function("signalfd", c_int, c_void_p, c_int)
_sigprocmask = function("sigprocmask", c_int, c_void_p, c_void_p)
_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint)
_accept4 = function("accept4", c_int, c_void_p, c_void_p, c_int)
_linkat = function("linkat", c_int, c_char_p, c_int, c_char_p, c_int)
_mprotect = function("mprotect", c_void_p, c_ulong, c_int)
_madvise = function("madvise", c_void_p, c_ulong, c_int)
_syscall = numbered(*(c_long,) * 6)
_clone3 = numbered(POINTER(CloneArgs), c_ulong)
_openat2 = numbered(c_int, c_char_p, POINTER(OpenHow), c_ulong)
_pidfd_open = numbered(c_int, c_uint)
_pidfd_send_signal = numbered(c_int, c_int, c_void_p, c_uint)
_close_range = numbered(c_uint, c_uint, c_uint)


def clone3(flags: int, exit_signal: int, cgroup: int) -> tuple[int, int]:
    """Return (pid, pidfd) in the parent, (0, -1) in the child. clone(2).

    In the child no after-fork handler of Python has run: only a process without other threads may call it.
    """
    args, pidfd = _clone_args(flags, exit_signal, cgroup)
    pid = checked(_clone3(_CLONE3, ctypes.byref(args), ctypes.sizeof(args)), "clone3")
    return pid, (pidfd.value if pid else -1)


def clone3_by(start: Callable[[int, int, int], int], calls: int, flags: int, cgroup: int) -> tuple[int, int]:
    """Return (pid, pidfd) of a process begun by machine.py's instructions. clone(2)."""
    args, pidfd = _clone_args(flags, 0, cgroup)
    pid = start(ctypes.addressof(args), ctypes.sizeof(args), calls)
    if pid < 0:
        raise KernelError("clone3", None, -pid)
    return pid, pidfd.value


def _clone_args(flags: int, exit_signal: int, cgroup: int) -> tuple[CloneArgs, c_int]:
    pidfd = c_int(-1)
    args = CloneArgs(
        flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal, cgroup=cgroup
    )
    return args, pidfd


def raw_syscall(number: int, *args: int) -> int:
    """Make any call with numbers; return its result, or minus its errno. syscall(2)."""
    result = _syscall(number, *args)
    return -ctypes.get_errno() if result < 0 else result


def mprotect(address: int, size: int, protection: int) -> None:
    """mprotect(2)."""
    checked(_mprotect(address, size, protection), "mprotect")


def madvise(address: int, size: int, advice: int) -> None:
    """madvise(2)."""
    checked(_madvise(address, size, advice), "madvise")


_open_hows: dict[
    tuple[int, int, int], OpenHow
] = {}  # there are three, and making one costs more than the call
_SIZE_OF_HOW = ctypes.sizeof(OpenHow)


def openat2(dirfd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """Return a descriptor; `resolve` bounds where the path may lead. openat2(2)."""
    key = (flags, mode, resolve)
    how = _open_hows.get(key)
    if how is None:
        how = _open_hows[key] = OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=resolve)
    return checked(_openat2(_OPENAT2, dirfd, os.fsencode(path), how, _SIZE_OF_HOW), "openat2", path)


def linkat(olddirfd: int, oldpath: bytes, newdirfd: int, newpath: bytes, flags: int) -> None:
    """linkat(2); with AT_EMPTY_PATH what is open at `olddirfd` gets a name."""
    checked(_linkat(olddirfd, oldpath, newdirfd, newpath, flags), "linkat", os.fsdecode(newpath))


def close_range(first: int, last: int, flags: int) -> None:
    """close_range(2)."""
    checked(_close_range(_CLOSE_RANGE, first, last, flags), "close_range")


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    checked(_setns(fd, nstype), "setns")


def unshare(flags: int) -> None:
    """unshare(2), without holding the GIL."""
    checked(_unshare(flags), "unshare")


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) with numbers."""
    return checked(_prctl(option, arg2, arg3, 0, 0), "prctl")


def prctl_text(option: int, text: str) -> None:
    """prctl(2) with a string."""
    checked(_prctl_text(option, os.fsencode(text), 0, 0, 0), "prctl")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = os.fsencode(name)
    checked(_sethostname(encoded, len(encoded)), "sethostname", name)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2)."""
    return checked(_pidfd_open(_PIDFD_OPEN, pid, flags), "pidfd_open")


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """pidfd_send_signal(2)."""
    checked(_pidfd_send_signal(_PIDFD_SEND_SIGNAL, pidfd, sig, None, 0), "pidfd_send_signal")


def accept4(sockfd: int) -> int:
    """Return a connection, close-on-exec and non-blocking. accept4(2)."""
    return checked(_accept4(sockfd, None, None, SFD_CLOEXEC_NONBLOCK), "accept4")


def inotify_init1(flags: int) -> int:
    """Return a descriptor that tells of what happens in directories."""
    return checked(_inotify_init1(flags), "inotify_init1")


def inotify_add_watch(fd: int, pathname: str, mask: int) -> None:
    """Have one more directory watched."""
    checked(_inotify_add_watch(fd, os.fsencode(pathname), mask), "inotify_add_watch", pathname)


def signal_default(signum: int) -> None:
    """Set SIG_DFL, of signals 32 and 33 too, which libc keeps for itself. rt_sigaction(2)."""
    default = ctypes.create_string_buffer(_SIGACTION_SIZE)
    raw_syscall(_RT_SIGACTION, signum, ctypes.addressof(default), 0, _SIGSET_SIZE, 0, 0)


def sigprocmask(*blocked: int) -> None:
    """Block exactly these signals. sigprocmask(2)."""
    checked(_sigprocmask(SIG_SETMASK, _sigset(*blocked), None), "sigprocmask")


def signalfd(*signals: int) -> int:
    """Return a non-blocking descriptor that reads these (blocked) signals. signalfd(2)."""
    return checked(_signalfd(-1, _sigset(*signals), SFD_CLOEXEC_NONBLOCK), "signalfd")


def _sigset(*signals: int) -> ctypes.Array[c_ulong]:
    # glibc and musl both use 1024 bits, of which the kernel reads the first 64
    return (c_ulong * (1024 // (8 * ctypes.sizeof(c_ulong))))(sum(1 << (signum - 1) for signum in signals))
