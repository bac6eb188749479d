"""System calls that the standard library has not: C names, C argument order, KernelError on failure.

Owns every prototype and structure of the project. Must never know what a call is used for.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_long, c_uint, c_uint64, c_ulong, c_void_p

from wherryd.kernel.errors import KernelError

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

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

IN_DELETE, IN_Q_OVERFLOW, IN_ONLYDIR = 0x200, 0x4000, 0x01000000

SFD_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
KEYCTL_JOIN_SESSION_KEYRING = 1
SIG_SETMASK = 2

# Calls since Linux 5.1 have one number on every architecture; older ones do not.
_CLONE3 = 435
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_PIDFD_OPEN, _PIDFD_SEND_SIGNAL = 434, 424
_CLOSE_RANGE, _OPENAT2 = 436, 437
_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41


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


class MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = [
        ("attr_set", c_uint64),
        ("attr_clr", c_uint64),
        ("propagation", c_uint64),
        ("userns_fd", c_uint64),
    ]


# PyDLL keeps the GIL: a forked child must never wait for a lock that its parent held.
_libc = ctypes.PyDLL(None, use_errno=True)
# unshare(CLONE_NEWNET) can wait long for the kernel's clean-up of other namespaces: other threads go on.
_libc_without_gil = ctypes.CDLL(None, use_errno=True)


def _function(name: str, *argtypes: type, library: ctypes.CDLL = _libc) -> Callable[..., int]:
    function = library[name]
    function.argtypes, function.restype = argtypes, c_int
    return function


_RT_SIGACTION = 13 if os.uname().machine == "x86_64" else 134
_SIGACTION_SIZE, _SIGSET_SIZE = 32, 8


def _numbered(*argtypes: type) -> Callable[..., int]:
    function = _libc["syscall"]
    function.argtypes, function.restype = (c_long, *argtypes), c_long
    return function


_mount = _function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = _function("umount2", c_char_p, c_int)
_setns = _function("setns", c_int, c_int)
_unshare = _function("unshare", c_int, library=_libc_without_gil)
_prctl = _function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_prctl_text = _function("prctl", c_int, c_char_p, c_ulong, c_ulong, c_ulong)
_sethostname = _function("sethostname", c_char_p, c_ulong)
_signalfd = _function("signalfd", c_int, c_void_p, c_int)
_sigprocmask = _function("sigprocmask", c_int, c_void_p, c_void_p)
_inotify_init1 = _function("inotify_init1", c_int)
_inotify_add_watch = _function("inotify_add_watch", c_int, c_char_p, c_uint)
_accept4 = _function("accept4", c_int, c_void_p, c_void_p, c_int)
_mprotect = _function("mprotect", c_void_p, c_ulong, c_int)
_madvise = _function("madvise", c_void_p, c_ulong, c_int)
_syscall = _numbered(*(c_long,) * 6)
_clone3 = _numbered(POINTER(CloneArgs), c_ulong)
_open_tree = _numbered(c_int, c_char_p, c_uint)
_move_mount = _numbered(c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = _numbered(c_char_p, c_uint)
_fsconfig = _numbered(c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = _numbered(c_int, c_uint, c_uint)
_mount_setattr = _numbered(c_int, c_char_p, c_uint, POINTER(MountAttr), c_ulong)
_openat2 = _numbered(c_int, c_char_p, POINTER(OpenHow), c_ulong)
_pidfd_open = _numbered(c_int, c_uint)
_pidfd_send_signal = _numbered(c_int, c_int, c_void_p, c_uint)
_close_range = _numbered(c_uint, c_uint, c_uint)
_pivot_root = _numbered(c_char_p, c_char_p)


def _checked(result: int, op: str, path: str | None = None) -> int:
    if result < 0:
        raise KernelError(op, path, ctypes.get_errno())
    return result


def clone3(flags: int, exit_signal: int, cgroup: int) -> tuple[int, int]:
    """Return (pid, pidfd) in the parent, (0, -1) in the child. clone(2).

    In the child no after-fork handler of Python has run: only a process without other threads may call it.
    """
    args, pidfd = _clone_args(flags, exit_signal, cgroup)
    pid = _checked(_clone3(_CLONE3, ctypes.byref(args), ctypes.sizeof(args)), "clone3")
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
    _checked(_mprotect(address, size, protection), "mprotect")


def madvise(address: int, size: int, advice: int) -> None:
    """madvise(2)."""
    _checked(_madvise(address, size, advice), "madvise")


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2)."""
    op = "mount overlay" if fstype == "overlay" else "mount"
    _checked(_mount(*map(os.fsencode, (source, target, fstype)), flags, os.fsencode(data)), op, target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _checked(_umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _checked(_pivot_root(_PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """Return a descriptor of a mount, with OPEN_TREE_CLONE of a detached copy. open_tree(2)."""
    return _checked(_open_tree(_OPEN_TREE, dirfd, os.fsencode(path), flags), "open_tree", path)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2)."""
    result = _move_mount(_MOVE_MOUNT, from_fd, os.fsencode(from_path), to_fd, os.fsencode(to_path), flags)
    _checked(result, "move_mount", to_path or None)


def fsopen(fstype: str) -> int:
    """Return a context to configure a new file system in. fsopen(2)."""
    return _checked(_fsopen(_FSOPEN, os.fsencode(fstype), _CLOEXEC), f"fsopen {fstype}")


def fsconfig(context: int, command: int, key: str, value: str | None) -> None:
    """Set an option of a context. fsconfig(2)."""
    text = None if value is None else os.fsencode(value)
    _checked(_fsconfig(_FSCONFIG, context, command, os.fsencode(key), text, 0), f"fsconfig {key}")


def fsmount(context: int, attributes: int) -> int:
    """Make the file system and return a detached mount of it, with MOUNT_ATTR_*. fsmount(2)."""
    _checked(_fsconfig(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig create")
    return _checked(_fsmount(_FSMOUNT, context, _CLOEXEC, attributes), "fsmount")


def mount_setattr(dirfd: int, path: str, flags: int, attr_set: int, propagation: int = 0) -> None:
    """Set MOUNT_ATTR_* and, if not 0, the propagation (MS_SLAVE …) of a mount. mount_setattr(2)."""
    attr = MountAttr(attr_set=attr_set, propagation=propagation)
    result = _mount_setattr(
        _MOUNT_SETATTR, dirfd, os.fsencode(path), flags, ctypes.byref(attr), ctypes.sizeof(attr)
    )
    _checked(result, "mount_setattr", path or None)


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
    return _checked(_openat2(_OPENAT2, dirfd, os.fsencode(path), how, _SIZE_OF_HOW), "openat2", path)


def close_range(first: int, last: int, flags: int) -> None:
    """close_range(2)."""
    _checked(_close_range(_CLOSE_RANGE, first, last, flags), "close_range")


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    _checked(_setns(fd, nstype), "setns")


def unshare(flags: int) -> None:
    """unshare(2), without holding the GIL."""
    _checked(_unshare(flags), "unshare")


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) with numbers."""
    return _checked(_prctl(option, arg2, arg3, 0, 0), "prctl")


def prctl_text(option: int, text: str) -> None:
    """prctl(2) with a string."""
    _checked(_prctl_text(option, os.fsencode(text), 0, 0, 0), "prctl")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = os.fsencode(name)
    _checked(_sethostname(encoded, len(encoded)), "sethostname", name)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2)."""
    return _checked(_pidfd_open(_PIDFD_OPEN, pid, flags), "pidfd_open")


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """pidfd_send_signal(2)."""
    _checked(_pidfd_send_signal(_PIDFD_SEND_SIGNAL, pidfd, sig, None, 0), "pidfd_send_signal")


def accept4(sockfd: int) -> int:
    """Return a connection, close-on-exec and non-blocking. accept4(2)."""
    return _checked(_accept4(sockfd, None, None, SFD_CLOEXEC_NONBLOCK), "accept4")


def inotify_init1(flags: int) -> int:
    """Return a descriptor that tells of what happens in directories."""
    return _checked(_inotify_init1(flags), "inotify_init1")


def inotify_add_watch(fd: int, pathname: str, mask: int) -> None:
    """Have one more directory watched."""
    _checked(_inotify_add_watch(fd, os.fsencode(pathname), mask), "inotify_add_watch", pathname)


def signal_default(signum: int) -> None:
    """Set SIG_DFL, of signals 32 and 33 too, which libc keeps for itself. rt_sigaction(2)."""
    default = ctypes.create_string_buffer(_SIGACTION_SIZE)
    raw_syscall(_RT_SIGACTION, signum, ctypes.addressof(default), 0, _SIGSET_SIZE, 0, 0)


def sigprocmask(*blocked: int) -> None:
    """Block exactly these signals. sigprocmask(2)."""
    _checked(_sigprocmask(SIG_SETMASK, _sigset(*blocked), None), "sigprocmask")


def signalfd(*signals: int) -> int:
    """Return a non-blocking descriptor that reads these (blocked) signals. signalfd(2)."""
    return _checked(_signalfd(-1, _sigset(*signals), SFD_CLOEXEC_NONBLOCK), "signalfd")


def _sigset(*signals: int) -> ctypes.Array[c_ulong]:
    # glibc and musl both use 1024 bits, of which the kernel reads the first 64
    return (c_ulong * (1024 // (8 * ctypes.sizeof(c_ulong))))(sum(1 << (signum - 1) for signum in signals))
