"""A sequence of prepared system calls: what a container's first process does for itself, as data.

Everything is decided and laid out before the process exists: numbers, arguments, which errors are tolerated.
`start` makes a process that shares our memory and makes the calls (machine.py); it touches no page that would
have to be copied, so its memory limit may be as small as its command's. `start_copy` makes an ordinary fork
for the same calls: where machine.py has no listing, and where other processes of the container could reach
into memory that is shared.

Owns the calls that a container's process makes for itself. Must never choose any.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from wherryd.kernel import machine
from wherryd.kernel.capabilities import NUMBERS, capability_data
from wherryd.kernel.errors import KernelError
from wherryd.kernel.rlimits import number_of
from wherryd.kernel.syscalls import (
    CLONE_VFORK,
    CLONE_VM,
    KEYCTL_JOIN_SESSION_KEYRING,
    clone3,
    clone3_by,
    raw_syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_TIOCSCTTY = 0x540E
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)
_SEARCH_ON = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)

_WORDS = machine.CALL_SIZE // 8
_RESULT = _WORDS - 1
_ARGUMENTS = 6
_TOLERATED = 3
_NEVER = 1 << 62
"""A result that no call has: it was not reached, or did not return."""

_FAILED = 125
_UNLIMITED = (1 << 64) - 1

_NAMES = (
    "setsid dup3 chdir ioctl write unshare mount prctl capset prlimit64 setgroups setresgid setresuid execve "
    "keyctl close_range exit_group"
).split()
_X86_64 = (112, 292, 80, 16, 1, 272, 165, 157, 126, 302, 116, 119, 117, 59, 250, 436, 231)
_OTHERS = (157, 24, 49, 29, 64, 97, 40, 167, 91, 261, 159, 149, 147, 221, 219, 436, 94)
_NUMBER: dict[str, int] = dict(
    zip(_NAMES, _X86_64 if os.uname().machine == "x86_64" else _OTHERS, strict=True)
)

_start = machine.load()


class Program:
    """Calls in order. `step` names what the calls that are added next belong to.

    Add calls, then `run` it, or `start` or `start_copy` it and ask for its `failure`.
    """

    def __init__(self) -> None:
        self.step = ""
        self._words: list[int] = []
        self._pointers: list[int] = []
        self._names: list[tuple[str, str, str | None]] = []
        self._data = bytearray()
        self._links: list[int] = []
        self._execve: int | None = None
        self._memory: bytearray | mmap.mmap = bytearray()

    # -- running --------------------------------------------------------------------------------------------

    def start(self, flags: int, cgroup: int) -> tuple[int, int]:
        """Start a process that makes the calls in our memory; return (pid, pidfd) when it executes or ended.

        Only for the first process of a new PID namespace: another one's neighbours could trace it, and
        through it us. Raises KernelError.
        """
        if _start is None:
            return self.start_copy(flags, cgroup)
        self._memory = bytearray(self._size)
        return clone3_by(_start, self._lay_out(), flags | CLONE_VM | CLONE_VFORK, cgroup)

    def start_copy(self, flags: int, cgroup: int) -> tuple[int, int]:
        """Do what `start` does with a copy of our memory. Raises KernelError."""
        self._memory = mmap.mmap(-1, self._size)
        self._lay_out()
        pid, pidfd = clone3(flags | CLONE_VFORK, 0, cgroup)
        if pid == 0:
            try:
                self._run()
            finally:
                os._exit(_FAILED)
        return pid, pidfd

    def run(self) -> tuple[str, KernelError] | None:
        """Make the calls in this very process; return step and error of the one that failed, if one did."""
        self._memory = bytearray(self._size)
        self._lay_out()
        self._run()
        return self.failure()

    def failure(self) -> tuple[str, KernelError] | None:
        """Return step and error of the call that ended the process; None if the command executes.

        None also if a signal ended it before. Of several execve that fail, "denied" is told before
        "not found", as shells do.
        """
        last = max((self._execve or 0) - 1, 0)
        # Where the last call before the execution was made, none before it failed.
        failed = self._failed(last if self._result(last) != _NEVER else 0)
        if failed is None:
            return None
        index, number = failed
        step, op, path = self._names[index]
        return step, KernelError(op, path, number)

    def _failed(self, first: int) -> tuple[int, int] | None:
        """Return which call ended the process, and its errno; None if one from `first` on did not return."""
        failed = denied = None
        for index in range(first, len(self._names)):
            result = self._result(index)
            if result == _NEVER:
                return None
            if result < 0:
                failed = (index, -result)
                tolerated = index * _WORDS + 1 + _ARGUMENTS
                if result not in self._words[tolerated : tolerated + _TOLERATED]:
                    return failed
                if -result == errno.EACCES:
                    denied = denied or failed
        return (denied or failed) if self._execve is not None else None

    def _result(self, index: int) -> int:
        result: int = struct.unpack_from("=q", self._memory, (index * _WORDS + _RESULT) * 8)[0]
        return result

    @property
    def _size(self) -> int:
        return (len(self._words) + _WORDS) * 8 + len(self._data)

    def _lay_out(self) -> int:
        """Put calls and data into the memory, with their addresses there; return the first call's."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        words = [*self._words, _NUMBER["exit_group"], _FAILED, *(0,) * (_WORDS - 3), _NEVER]
        start = len(words) * 8
        data = address + start
        for index in self._pointers:
            words[index] += data
        struct.pack_into(f"={len(words)}q", self._memory, 0, *words)
        self._memory[start : start + len(self._data)] = self._data
        for place in self._links:
            (offset,) = struct.unpack_from("=q", self._data, place)
            struct.pack_into("=q", self._memory, start + place, data + offset)
        return address

    def _run(self) -> None:
        """Make the calls, in a fork: what machine.py's instructions do."""
        for start in range(0, len(self._words), _WORDS):
            call = struct.unpack_from(f"={_WORDS}q", self._memory, start * 8)
            result = raw_syscall(*call[: 1 + _ARGUMENTS])
            struct.pack_into("=q", self._memory, (start + _RESULT) * 8, result)
            if result < 0 and result not in call[1 + _ARGUMENTS : _RESULT]:
                return

    def extend(self, other: Program) -> None:
        """Add the calls of another program; that one stays as it is."""
        first, shift = len(self._words), len(self._data)
        self._words += other._words
        self._pointers += [first + index for index in other._pointers]
        for index in other._pointers:
            self._words[first + index] += shift
        self._names += other._names
        self._data += other._data
        for place in other._links:
            (offset,) = struct.unpack_from("=q", other._data, place)
            struct.pack_into("=q", self._data, shift + place, shift + offset)
            self._links.append(shift + place)

    # -- making ---------------------------------------------------------------------------------------------

    def _add(
        self,
        name: str,
        *args: int,
        pointers: tuple[int, ...] = (),
        op: str | None = None,
        path: str | None = None,
        tolerated: tuple[int, ...] = (),
    ) -> None:
        """Add a call. `pointers` are the positions of arguments that are offsets in the data."""
        first = len(self._words) + 1
        self._pointers.extend([first + position for position in pointers])
        self._words += (
            _NUMBER[name],
            *args,
            *(0,) * (_ARGUMENTS - len(args)),
            *[-number for number in tolerated],
            *(0,) * (_TOLERATED - len(tolerated)),
            _NEVER,
        )
        self._names.append((self.step, op or name, path))

    def _text(self, text: str) -> int:
        return self._bytes(os.fsencode(text) + b"\0")

    def _bytes(self, data: bytes) -> int:
        offset = len(self._data)
        self._data += data
        return offset

    def _strings(self, texts: Iterable[str]) -> int:
        """Add a vector of strings, as execve takes it."""
        offsets = [self._text(text) for text in texts]
        vector = self._bytes(struct.pack(f"={len(offsets) + 1}q", *offsets, 0))
        self._links.extend(range(vector, vector + 8 * len(offsets), 8))
        return vector

    def setsid(self) -> None:
        """Begin a session. setsid(2)."""
        self._add("setsid")

    def join_new_session_keyring(self) -> None:
        """Leave the session keyring we inherited for an empty one. keyctl(2)."""
        self._add("keyctl", KEYCTL_JOIN_SESSION_KEYRING)

    def set_comm(self, name: str) -> None:
        """Set the thread's name (`ps -o comm`); the kernel keeps 15 bytes. prctl(2)."""
        self._add("prctl", _PR_SET_NAME, self._text(name), pointers=(1,))

    def dup(self, old: int, new: int, *, cloexec: bool = False) -> None:
        """Put a descriptor in another place. dup3(2)."""
        self._add("dup3", old, new, os.O_CLOEXEC if cloexec else 0)

    def close_from(self, first: int) -> None:
        """Close every descriptor from `first` on. close_range(2)."""
        self._add("close_range", first, (1 << 32) - 1)

    def make_controlling(self, terminal: int) -> None:
        """Make it the controlling terminal. ioctl_tty(2)."""
        self._add("ioctl", terminal, _TIOCSCTTY, op="ioctl TIOCSCTTY")

    def unshare(self, flags: int) -> None:
        """Enter new namespaces. unshare(2)."""
        self._add("unshare", flags)

    def mount(self, source: str, target: str, fstype: str, flags: int, *, if_there: bool = False) -> None:
        """Mount by path, once the root is the container's. `if_there`: a missing target is fine. mount(2)."""
        args = self._text(source), self._text(target), self._text(fstype), flags
        tolerated = _NOT_HERE if if_there else ()
        self._add("mount", *args, pointers=(0, 1, 2), path=target, tolerated=tolerated)

    def chdir(self, path: str) -> None:
        """Change the working directory. chdir(2)."""
        self._add("chdir", self._text(path), pointers=(0,), path=path)

    def set_rlimit(self, name: str, soft: int, hard: int) -> None:
        """Set a resource limit; -1 is unlimited. prlimit(2)."""
        limits = self._bytes(struct.pack("=QQ", soft & _UNLIMITED, hard & _UNLIMITED))
        self._add("prlimit64", 0, number_of(name), limits, pointers=(2,), op="setrlimit", path=name)

    def limit_bounding(self, keep: tuple[str, ...], last: int) -> None:
        """Drop all capabilities but `keep` from the bounding set; `last` is the highest. prctl(2)."""
        kept = {NUMBERS[name] for name in keep}
        for number in range(last + 1):
            if number not in kept:
                self._add("prctl", _PR_CAPBSET_DROP, number, op="prctl PR_CAPBSET_DROP")

    def set_ids(self, uid: int, gid: int, groups: list[int]) -> None:
        """Become the user; leaving 0 clears permitted and effective capabilities. credentials(7)."""
        array = self._bytes(struct.pack(f"={len(groups)}I", *groups))
        self._add("setgroups", len(groups), array, pointers=(1,))
        self._add("setresgid", gid, gid, gid, path=str(gid))
        self._add("setresuid", uid, uid, uid, path=str(uid))
        # The change of user made our memory what fs.suid_dumpable says; it may be our parent's too.
        self._add("prctl", _PR_SET_DUMPABLE, 0, op="prctl PR_SET_DUMPABLE")

    def set_capabilities(self, names: tuple[str, ...]) -> None:
        """Set permitted and effective to `names`, inheritable (so ambient too) to nothing. capset(2)."""
        header, data = map(self._bytes, map(bytes, capability_data(names)))
        self._add("capset", header, data, pointers=(0, 1))

    def set_no_new_privs(self) -> None:
        """Make setuid bits and file capabilities inert, for ever. prctl(2)."""
        self._add("prctl", _PR_SET_NO_NEW_PRIVS, 1, op="prctl PR_SET_NO_NEW_PRIVS")

    def install_seccomp(self, program: bytes) -> None:
        """Install a filter: an array of struct sock_filter. Every call after it must pass it. seccomp(2)."""
        code = self._bytes(program)
        fprog = self._bytes(struct.pack("=Hxxxxxxq", len(program) // 8, code))
        self._links.append(fprog + 8)
        args = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog)
        self._add("prctl", *args, pointers=(2,), op="prctl PR_SET_SECCOMP")

    def write(self, fd: int, data: bytes) -> None:
        """Write a few bytes. write(2)."""
        self._add("write", fd, self._bytes(data), len(data), pointers=(1,))

    def execve(self, paths: list[str], args: tuple[str, ...], env: dict[str, str]) -> None:
        """Execute the first of `paths` that can be, going on after "not found" and "denied". execve(2)."""
        argv = self._strings(args)
        envp = self._strings([f"{key}={value}" for key, value in env.items()])
        tolerated = _SEARCH_ON if len(paths) > 1 else ()
        self._execve = len(self._names)
        for path in paths:
            vectors = (self._text(path), argv, envp)
            self._add("execve", *vectors, pointers=(0, 1, 2), path=path, tolerated=tolerated)
