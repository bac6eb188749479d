"""A sequence of prepared system calls, as data: laid out before the process exists that makes them.

`start` makes a process that shares our memory and makes the calls (machine.py); it touches no page that would
have to be copied, so its memory limit may be as small as its command's. `start_copy` makes a fork for the
same calls, where other processes of the container could reach into memory that is shared: it takes a tenth
of a millisecond more. Where machine.py has no listing, both fork an interpreter that makes them.

Owns the layout of calls and of what they point to, and their numbers. Knows no call's meaning.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from wherryd.kernel import machine
from wherryd.kernel.errors import KernelError
from wherryd.kernel.memory import keep_from_forks
from wherryd.kernel.syscalls import CLONE_VFORK, CLONE_VM, clone3, clone3_by, raw_syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS = machine.CALL_SIZE // 8
_RESULT = _WORDS - 1
_ARGUMENTS = 6
_TOLERATED = 3
_NEVER = 1 << 62
"""A result that no call has: it was not reached, or did not return."""

_FAILED = 125

_NAMES = (
    "setsid dup3 chdir ioctl write unshare mount prctl capset prlimit64 setgroups setresgid setresuid execve "
    "keyctl close_range setns exit_group"
).split()
_X86_64 = (112, 292, 80, 16, 1, 272, 165, 157, 126, 302, 116, 119, 117, 59, 250, 436, 308, 231)
_OTHERS = (157, 24, 49, 29, 64, 97, 40, 167, 91, 261, 159, 149, 147, 221, 219, 436, 268, 94)
_NUMBER: dict[str, int] = dict(
    zip(_NAMES, _X86_64 if os.uname().machine == "x86_64" else _OTHERS, strict=True)
)

_start = machine.load()


class Sequence:
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
        self._image: tuple[bytearray | mmap.mmap, int, bytes] | None = None

    # -- running --------------------------------------------------------------------------------------------

    def start(self, flags: int, cgroup: int) -> tuple[int, int]:
        """Start a process that makes the calls in our memory; return (pid, pidfd) when it executes or ended.

        Only where nobody could trace it, and through it us. Raises KernelError.
        """
        if _start is None:
            return self.start_copy(flags, cgroup)
        if not isinstance(self._memory, bytearray) or len(self._memory) != self._size:
            self._memory = bytearray(self._size)
        return clone3_by(_start, self._lay_out(), flags | CLONE_VM | CLONE_VFORK, cgroup)

    def start_copy(self, flags: int, cgroup: int) -> tuple[int, int]:
        """Do what `start` does, with a copy of our memory. Raises KernelError.

        But for the calls themselves, where their results can be read: what is started from one sequence more
        than once, for one container, shares those with its forerunners.
        """
        if not isinstance(self._memory, mmap.mmap):
            self._memory = mmap.mmap(-1, self._size)
        address = self._lay_out()
        if _start is not None:
            return clone3_by(_start, address, flags | CLONE_VFORK, cgroup)
        pid, pidfd = clone3(flags | CLONE_VFORK, 0, cgroup)
        if pid == 0:
            try:
                self._run()
            finally:
                os._exit(_FAILED)
        return pid, pidfd

    @staticmethod
    def keep_memory() -> None:
        """Have later copies of this process take along what calls need and nothing else, for good."""
        if _start is not None:
            keep_from_forks(machine.addresses())

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
        if self._executes:
            return None
        last = max((self._execve or 0) - 1, 0)
        # Where the last call before the execution was made, none before it failed.
        failed = self._failed(last if self._result(last) != _NEVER else 0)
        if failed is None:
            return None
        index, number = failed
        step, op, path = self._names[index]
        return step, KernelError(op, path, number)

    @property
    def _executes(self) -> bool:
        """Whether the first execution did not return, after a call that went well: as is to be expected."""
        if not self._execve:
            return False
        return 0 <= self._result(self._execve - 1) < self._result(self._execve) == _NEVER

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
        """Put calls and data into the memory, with their addresses there; return the first call's.

        All of it, each time: what was in another process is not trusted. It is often where it was.
        """
        last = self._image
        if last is None or last[0] is not self._memory or len(last[2]) != self._size:
            address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            self._write_calls(address)
            self._image = self._memory, address, bytes(self._memory[: self._size])
            return address
        self._memory[: len(last[2])] = last[2]
        return last[1]

    def _write_calls(self, address: int) -> None:
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

    def _run(self) -> None:
        """Make the calls, in a fork: what machine.py's instructions do."""
        for start in range(0, len(self._words), _WORDS):
            call = struct.unpack_from(f"={_WORDS}q", self._memory, start * 8)
            result = raw_syscall(*call[: 1 + _ARGUMENTS])
            struct.pack_into("=q", self._memory, (start + _RESULT) * 8, result)
            if result < 0 and result not in call[1 + _ARGUMENTS : _RESULT]:
                return

    def extend(self, other: Sequence) -> None:
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

    # -- making, for program.py ------------------------------------------------------------------------------

    def add(
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

    def text(self, text: str) -> int:
        """Add a string to the data; return its offset."""
        return self.bytes(os.fsencode(text) + b"\0")

    def bytes(self, data: bytes) -> int:
        """Add bytes to the data; return their offset."""
        offset = len(self._data)
        self._data += data
        return offset

    def link(self, place: int) -> None:
        """Say that eight bytes of the data are an offset too, and are to become an address."""
        self._links.append(place)

    def begin_execution(self) -> None:
        """Say that the calls from here on are executions: one that does not return was the last."""
        self._execve = len(self._names)

    def strings(self, texts: Iterable[str]) -> int:
        """Add a vector of strings, as execve takes it."""
        offsets = [self.text(text) for text in texts]
        vector = self.bytes(struct.pack(f"={len(offsets) + 1}q", *offsets, 0))
        self._links.extend(range(vector, vector + 8 * len(offsets), 8))
        return vector
