"""How this project calls the kernel: functions of libc by name, system calls by number.

Owns how an error of theirs becomes a KernelError. Must never hold a prototype: those are in syscalls.py and
mount_syscalls.py.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_long

from wherryd.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# PyDLL keeps the GIL: a forked child must never wait for a lock that its parent held.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc_without_gil = ctypes.CDLL(None, use_errno=True)


def function(name: str, *argtypes: type, gil: bool = True) -> Callable[..., int]:
    """Return a function of libc that takes these; without the GIL, other threads go on meanwhile."""
    function = (_libc if gil else _libc_without_gil)[name]
    function.argtypes, function.restype = argtypes, c_int
    return function


def numbered(*argtypes: type) -> Callable[..., int]:
    """Return syscall(2), taking a call's number and these."""
    function = _libc["syscall"]
    function.argtypes, function.restype = (c_long, *argtypes), c_long
    return function


def checked(result: int, op: str, path: str | None = None) -> int:
    """Return a call's result. Raises KernelError with the errno if there is none."""
    if result < 0:
        raise KernelError(op, path, ctypes.get_errno())
    return result
