"""What the launcher's handle answers: a started container, its exit, or why it did not start. Values only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_KINDS = ("pidfd", "stdin", "stdout", "stderr", "tty", "staging", "lifeline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended: a code, or a signal, or neither when nobody could see it.

    `told`: of an exec whose client knows that already. `at` is when, Unix time, None when nobody saw it.
    """

    code: int | None = None
    signal: int | None = None
    told: bool = False
    at: float | None = field(default=None, compare=False)

    @classmethod
    def of_status(cls, status: int | None) -> Self:
        """Return the exit for a wait status (waitpid(2)); None is unknown."""
        if status is None:
            return cls()
        code = os.waitstatus_to_exitcode(status)
        return cls(code=code) if code >= 0 else cls(signal=-code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A process that is over already: there is no descriptor of it."""

    pid: int
    exit: Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A container whose command executes, and our descriptors of it: the holder closes them.

    With a terminal, `tty` is its master, and `stdout` and `staging` are the ends of the pipe between it and
    the log; else there is `stderr`, and `stdin` if the plan asked for it. An exec has none of these pipes,
    but may have a `lifeline`, whose end of file says that its client is gone.
    """

    id: str
    pid: int
    pidfd: int
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    tty: int | None = None
    staging: int | None = None
    lifeline: int | None = None

    def close(self) -> None:
        """Close every descriptor."""
        for _, fd in self.descriptors():
            os.close(fd)

    def descriptors(self) -> Iterator[tuple[str, int]]:
        """Yield what there is of each kind."""
        for kind in _KINDS:
            fd: int | None = getattr(self, kind)
            if fd is not None:
                yield kind, fd


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted(Spawned):
    """What a living launcher held when the supervisor came; `exit` None: it runs. A `note` is an exec's."""

    exit: Exit | None = None
    note: bytes | None = None


def descriptors(kinds: Iterable[str], fds: Iterable[int]) -> dict[str, int]:
    """Return the fields of a Spawned for the descriptors of a message."""
    return dict(zip(kinds, fds, strict=True))


class SpawnFailed(Exception):  # noqa: N818 - as trio names its own: what happened
    """A container did not come to execute its command; nothing of it is left.

    `step` is where in the plan, `op` what the kernel was asked, `errno` 0 when it was not the kernel.
    """

    def __init__(self, *, step: str, op: str, path: str | None, errno: int, hint: str | None) -> None:
        where = f" {path}" if path else ""
        reason = os.strerror(errno) if errno else "failed"
        super().__init__(f"{step}: {op}{where}: {reason}" + (f" ({hint})" if hint else ""))
        self.step = step
        self.op = op
        self.path = path
        self.errno = errno
        self.hint = hint
