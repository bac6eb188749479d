"""A sequence of prepared system calls, for a process that must touch as little memory as it can.

A forked interpreter copies every page that it touches (about 2 µs each, charged to the container's memory
limit): the calls and their arguments are made before the fork, and after it one loop runs them.

Owns the calls that a container's first process makes for itself. Must never choose any.
"""

from __future__ import annotations

import ctypes
import errno
import os

from wherryd.kernel import syscalls
from wherryd.kernel.capabilities import NUMBERS, capability_data
from wherryd.kernel.errors import KernelError
from wherryd.kernel.rlimits import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_TIOCSCTTY = 0x540E
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)
_SEARCH_ON = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Program:
    """Calls in order. `run` is for the forked child; everything else for before."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., int], tuple[Any, ...], tuple[int, ...]]] = []
        self._names: list[tuple[str, str, str | None]] = []
        self._keep: list[object] = []
        self.step = ""
        """What the calls that are added belong to."""

    def run(self) -> tuple[str, KernelError]:
        """Make the calls; returns only if one fails: its step and error.

        Of several execve that fail, "denied" is told before "not found", as shells do.
        """
        failed = denied = (0, 0)
        for index, (function, args, tolerated) in enumerate(self._calls):
            if function(*args) < 0:
                failed = (index, ctypes.get_errno())
                if failed[1] not in tolerated:
                    break
                if failed[1] == errno.EACCES and not denied[1]:
                    denied = failed
        else:
            failed = denied if denied[1] else failed
        step, op, path = self._names[failed[0]]
        return step, KernelError(op, path, failed[1])

    def _add(
        self,
        function: Callable[..., int],
        *args: Any,
        op: str,
        path: str | None = None,
        tolerated: tuple[int, ...] = (),
    ) -> None:
        self._calls.append((function, args, tolerated))
        self._names.append((self.step, op, path))

    def setsid(self) -> None:
        """Begin a session. setsid(2)."""
        self._add(syscalls.RAW.setsid, op="setsid")

    def join_new_session_keyring(self) -> None:
        """Leave the session keyring we inherited for an empty one. keyctl(2)."""
        number, operation = syscalls.KEYCTL, syscalls.KEYCTL_JOIN_SESSION_KEYRING
        self._add(syscalls.RAW.keyctl, number, operation, None, op="keyctl")

    def set_comm(self, name: str) -> None:
        """Set the thread's name (`ps -o comm`); the kernel keeps 15 bytes. prctl(2)."""
        self._add(syscalls.RAW.prctl_text, _PR_SET_NAME, os.fsencode(name), 0, 0, 0, op="prctl")

    def dup(self, old: int, new: int, *, cloexec: bool = False) -> None:
        """Put a descriptor in another place. dup3(2)."""
        self._add(syscalls.RAW.dup3, old, new, os.O_CLOEXEC if cloexec else 0, op="dup3")

    def close_from(self, first: int) -> None:
        """Close every descriptor from `first` on. close_range(2)."""
        self._add(syscalls.RAW.close_range, syscalls.CLOSE_RANGE, first, (1 << 32) - 1, 0, op="close_range")

    def make_controlling(self, terminal: int) -> None:
        """Make it the controlling terminal. ioctl_tty(2)."""
        self._add(syscalls.RAW.ioctl, terminal, _TIOCSCTTY, 0, op="ioctl TIOCSCTTY")

    def unshare(self, flags: int) -> None:
        """Enter new namespaces. unshare(2)."""
        self._add(syscalls.RAW.unshare, flags, op="unshare")

    def mount(self, source: str, target: str, fstype: str, flags: int, *, if_there: bool = False) -> None:
        """Mount by path, once the root is the container's. `if_there`: a missing target is fine. mount(2)."""
        args = (os.fsencode(source), os.fsencode(target), os.fsencode(fstype), flags, None)
        self._add(syscalls.RAW.mount, *args, op="mount", path=target, tolerated=_NOT_HERE if if_there else ())

    def chdir(self, path: str) -> None:
        """Change the working directory. chdir(2)."""
        self._add(syscalls.RAW.chdir, os.fsencode(path), op="chdir", path=path)

    def set_rlimit(self, name: str, soft: int, hard: int) -> None:
        """Set a resource limit; -1 is unlimited. prlimit(2)."""
        limits = (ctypes.c_uint64 * 2)(soft & 0xFFFFFFFFFFFFFFFF, hard & 0xFFFFFFFFFFFFFFFF)
        self._keep.append(limits)
        args = (0, number_of(name), ctypes.addressof(limits), None)
        self._add(syscalls.RAW.prlimit64, *args, op="setrlimit", path=name)

    def limit_bounding(self, keep: tuple[str, ...], last: int) -> None:
        """Drop all capabilities but `keep` from the bounding set; `last` is the highest. prctl(2)."""
        kept = {NUMBERS[name] for name in keep}
        for number in range(last + 1):
            if number not in kept:
                self._add(syscalls.RAW.prctl, _PR_CAPBSET_DROP, number, 0, 0, 0, op="prctl PR_CAPBSET_DROP")

    def set_ids(self, uid: int, gid: int, groups: list[int]) -> None:
        """Become the user; leaving 0 clears permitted and effective capabilities. credentials(7)."""
        array = (ctypes.c_uint * len(groups))(*groups)
        self._keep.append(array)
        self._add(syscalls.RAW.setgroups, len(groups), ctypes.addressof(array), op="setgroups")
        self._add(syscalls.RAW.setresgid, gid, gid, gid, op="setresgid", path=str(gid))
        self._add(syscalls.RAW.setresuid, uid, uid, uid, op="setresuid", path=str(uid))

    def set_capabilities(self, names: tuple[str, ...]) -> None:
        """Set permitted and effective to `names`, inheritable (so ambient too) to nothing. capset(2)."""
        header, data = capability_data(names)
        self._keep += [header, data]
        self._add(syscalls.RAW.capset, ctypes.addressof(header), ctypes.addressof(data), op="capset")

    def set_no_new_privs(self) -> None:
        """Make setuid bits and file capabilities inert, for ever. prctl(2)."""
        self._add(syscalls.RAW.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, op="prctl PR_SET_NO_NEW_PRIVS")

    def install_seccomp(self, program: bytes) -> None:
        """Install a filter: an array of struct sock_filter. Every call after it must pass it. seccomp(2)."""
        code = ctypes.create_string_buffer(program, len(program))
        fprog = _SockFprog(len=len(program) // 8, filter=ctypes.addressof(code))
        self._keep += [code, fprog]
        args = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(fprog), 0, 0)
        self._add(syscalls.RAW.prctl, *args, op="prctl PR_SET_SECCOMP")

    def write(self, fd: int, data: bytes) -> None:
        """Write a few bytes. write(2)."""
        self._add(syscalls.RAW.write, fd, data, len(data), op="write")

    def execve(self, paths: list[str], args: tuple[str, ...], env: dict[str, str]) -> None:
        """Execute the first of `paths` that can be, going on after "not found" and "denied". execve(2)."""
        argv = _strings(args)
        envp = _strings([f"{key}={value}" for key, value in env.items()])
        self._keep += [argv, envp]
        for path in paths:
            self._add(
                syscalls.RAW.execve, os.fsencode(path), ctypes.addressof(argv), ctypes.addressof(envp),
                op="execve", path=path, tolerated=_SEARCH_ON if len(paths) > 1 else (),
            )  # fmt: skip


def _strings(texts: tuple[str, ...] | list[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts), None)
