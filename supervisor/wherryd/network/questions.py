"""What the network process is asked, and what comes of it: an answer with descriptors, or an error. No IO.

A question owns copies of its descriptors until it is settled, and an answer that nobody waits for is closed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from wherry_protocol.errors import InternalError, KernelFailure
from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Sequence

_HINTS = {
    errno.EOPNOTSUPP: "the kernel lacks it: modprobe bridge veth nf_tables",
    errno.EPERM: "the supervisor needs CAP_NET_ADMIN",
    errno.ESRCH: "its container has just ended",
}


class Refused(KernelFailure):
    """The kernel did not do what the process asked it for; `errno` says why."""


class Answer(NamedTuple):
    """What an operation returned. The descriptors are the caller's."""

    value: Any
    fds: list[int]

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self.fds:
            os.close(fd)


class Asked:
    """A question whose answer has not come. `abandoned`: nobody waits for it any more."""

    def __init__(self, op: str, message: bytes, fds: Sequence[int]) -> None:
        self.op = op
        self.message = message
        self.fds = [os.dup(fd) for fd in fds]
        """For a successor of the process, too."""
        self.ended = 0
        """How many processes ended when it was its turn."""
        self.done = trio.Event()
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.abandoned = False

    def settle(self, *, answer: Answer | None = None, error: Exception | None = None) -> None:
        """Have the answer or an error for whoever waits; a failure that nobody hears goes to the journal."""
        self.answer, self.error = answer, error
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
        if self.abandoned:
            if answer is not None:
                answer.close()
            if error is not None:
                journal.warning("network operation failed", op=self.op, error=error)
        self.done.set()

    def hear(self, message: Sequence[Any], fds: list[int]) -> None:
        """Settle with what the process said."""
        kind, *rest = message
        if kind == "done":
            self.settle(answer=Answer(rest[0], fds))
        elif kind == "refused":
            what, number = rest
            hint = _HINTS.get(number)
            self.settle(error=Refused(f"network: {what}: {os.strerror(number)}", errno=number, hint=hint))
        else:
            self.settle(error=InternalError(f"network: {self.op}: {rest[0]}"))

    @property
    def outcome(self) -> Answer:
        """The answer. Raises the error, if it is one."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None  # noqa: S101 - it is one or the other
        return self.answer
