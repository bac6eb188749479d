"""The supervisor's end of the network process: asks it to do things, starts it when first needed, or again.

Owns the process and the questions under way. The process keeps no state, so a new one simply goes on. Must
never block: what the process does not take yet waits here.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from wherry_protocol.errors import InternalError, KernelFailure
from wherryd import journal
from wherryd.launcher import wire
from wherryd.workers import worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

ANSWER_TIMEOUT = 30.0
"""Seconds for an answer: the kernel's network lock is held by others for milliseconds, so this is a hang."""

RESTART_PAUSE = 0.2
"""Seconds before a process that ended by itself gets a successor."""

_HINTS = {
    errno.EOPNOTSUPP: "the kernel lacks it: modprobe bridge veth nf_tables",
    errno.EPERM: "the supervisor needs CAP_NET_ADMIN",
    errno.ESRCH: "its container has just ended",
}

_MODULE = "wherryd.network.process.main"


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

    def __init__(self, op: str) -> None:
        self.op = op
        self.done = trio.Event()
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.abandoned = False


class Helper:
    """The network process. `run` is its task, `call` asks; questions are answered in the order they came."""

    def __init__(self) -> None:
        self._wanted = trio.Event()
        self._sock: socket.socket | None = None
        self._asked: dict[int, Asked] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._writable = trio.Event()
        self._last = 0
        self.pid: int | None = None

    def start(self) -> None:
        """Have the process started, if it is not there yet."""
        self._wanted.set()

    async def call(self, op: str, *args: Any, fds: Sequence[int] = ()) -> Answer:
        """Have an operation done and return what it answers; `fds` stay the caller's.

        Raises Refused for what the kernel refused, KernelFailure when the process died or hangs,
        InternalError.
        A cancelled call is done all the same; its descriptors are closed when it is.
        """
        return await self.answer(self.ask(op, *args, fds=fds))

    def ask(self, op: str, *args: Any, fds: Sequence[int] = ()) -> Asked:
        """Begin a `call`, in this very step; `answer` is to follow."""
        return self._ask(op, args, fds)

    async def answer(self, asked: Asked) -> Answer:
        """Wait for what was asked: as `call`."""
        try:
            with trio.fail_after(ANSWER_TIMEOUT):
                await asked.done.wait()
        except trio.TooSlowError as error:
            asked.abandoned = True
            raise KernelFailure(
                f"network: {asked.op} not done after {ANSWER_TIMEOUT:.0f} s",
                hint="is the kernel's network stuck?",
            ) from error
        except BaseException:
            asked.abandoned = True
            raise
        return _outcome(asked)

    def tell(self, op: str, *args: Any) -> None:
        """Have an operation done whose answer nobody waits for; a failure goes to the journal."""
        asked = self._ask(op, args, ())
        asked.abandoned = True

    def _ask(self, op: str, args: tuple[Any, ...], fds: Sequence[int]) -> Asked:
        self.start()
        self._last += 1
        asked = self._asked[self._last] = Asked(op)
        self._send(wire.pack(self._last, op, *args), fds)
        return asked

    async def run(self) -> None:
        """Keep the process, from when it is first wanted until cancelled."""
        await self._wanted.wait()
        while True:
            await self._live()
            journal.error("network process ended, starting another")
            await trio.sleep(RESTART_PAUSE)

    async def _live(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with ours:
            async with _process(theirs) as process:
                self._sock, self.pid = ours, process.pid
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._flush, ours)
                        await self._receive(ours)
                        nursery.cancel_scope.cancel()
                finally:
                    self._sock, self.pid = None, None
                    self._fail_all()

    def _send(self, data: bytes, fds: Sequence[int]) -> None:
        if self._sock is None or self._unsent or not _try(self._sock, data, fds):
            self._unsent.append((data, [os.dup(fd) for fd in fds]))
            self._writable.set()

    async def _flush(self, sock: socket.socket) -> None:
        while True:
            while self._unsent:
                if not _try(sock, *self._unsent[0]):
                    await trio.lowlevel.wait_writable(sock)
                    continue
                for fd in self._unsent.popleft()[1]:
                    os.close(fd)
            self._writable = trio.Event()
            await self._writable.wait()

    async def _receive(self, sock: socket.socket) -> None:
        while True:
            try:
                received = wire.receive(sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            except ConnectionResetError:
                return
            if received is None:
                return
            (number, *message), fds = received
            self._answered(self._asked.pop(number), message, fds)

    def _answered(self, asked: Asked, message: list[Any], fds: list[int]) -> None:
        kind, *rest = message
        if kind == "done":
            asked.answer = Answer(rest[0], fds)
        elif kind == "refused":
            what, number = rest
            asked.error = Refused(
                f"network: {what}: {os.strerror(number)}", errno=number, hint=_HINTS.get(number)
            )
        else:
            asked.error = InternalError(f"network: {asked.op}: {rest[0]}")
        if asked.abandoned:
            if asked.answer is not None:
                asked.answer.close()
            if asked.error is not None:
                journal.warning("network operation failed", op=asked.op, error=asked.error)
        asked.done.set()

    def _fail_all(self) -> None:
        """What was under way may have been done or not; nobody will say."""
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.error = KernelFailure(
                f"network: {each.op}: the process that does it ended", errno=errno.EPIPE, hint="try again"
            )
            each.done.set()
        for _, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()


@asynccontextmanager
async def _process(theirs: socket.socket) -> AsyncGenerator[trio.Process]:
    """Run the process with its end of the socket, which nobody else has then."""
    with theirs:
        async with worker(_MODULE, str(theirs.fileno()), data=None, fds=(theirs.fileno(),)) as process:
            theirs.close()
            yield process


def _outcome(asked: Asked) -> Answer:
    if asked.error is not None:
        raise asked.error
    assert asked.answer is not None  # noqa: S101 - an answer is one or the other
    return asked.answer


def _try(sock: socket.socket, data: bytes, fds: Sequence[int]) -> bool:
    try:
        wire.send(sock, data, fds)
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True  # the end of the process is told by the end of its answers
    return True
