"""The supervisor's end of the network process: asks it to do things, starts it when first needed, or again.

Owns the process and the questions under way. The process keeps no state, so a new one simply goes on: it is
asked what the last one has not answered, whether that died or was ended because it hung; every operation may
be done twice. Must never block: what the process does not take yet waits here.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import IO, TYPE_CHECKING, Any

import trio

from wherry_protocol.errors import KernelFailure
from wherryd import journal
from wherryd.launcher import wire
from wherryd.network.questions import Asked
from wherryd.tasks import open_nursery, start_soon
from wherryd.workers import worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from wherryd.network.questions import Answer

ANSWER_TIMEOUT = 30.0
"""Seconds for an answer: the kernel's network lock is held by others for milliseconds, so this is a hang."""

LOADING = 90.0
"""Seconds for a new process to load its libraries. That takes a third of one, and half a minute where every
instruction is emulated: who ended it then would end each that follows at the same point."""

HANG = 5.0
"""Seconds without any answer after which the process is ended. An operation takes milliseconds; if it was
only slow nothing is lost, as its successor does it again."""

LIVES = 2
"""Processes that may end at one question before that is refused."""

RESTART_PAUSE = 0.2
"""Seconds before a process that ended gets a successor."""

_MODULE = "wherryd.network.process.main"


class Helper:
    """The network process. `run` is its task, `call` asks; questions are answered in the order they came."""

    def __init__(self) -> None:
        self._wanted = trio.Event()
        self._sock: socket.socket | None = None
        self._asked: dict[int, Asked] = {}
        self._unsent: deque[Asked] = deque()
        self._writable = trio.Event()
        self._patience = trio.CancelScope()
        self._spoke = False
        """Whether this process has answered anything."""
        self._stillborn = 0
        """How many processes, one after the other, ended before they answered anything."""
        self._last = 0
        self.pids: tuple[int, ...] = ()
        """Of the last process and the one before it, whose last deeds may not have been heard of yet."""

    def start(self) -> None:
        """Have the process started, if it is not there yet."""
        self._wanted.set()

    async def call(self, op: str, *args: Any, fds: Sequence[int] = ()) -> Answer:
        """Have an operation done and return what it answers; `fds` stay the caller's.

        Raises Refused for what the kernel refused, KernelFailure when the process died again and again or
        hangs, InternalError.
        A cancelled call is done all the same; its descriptors are closed when it is.
        """
        return await self.answer(self.ask(op, *args, fds=fds))

    def ask(self, op: str, *args: Any, fds: Sequence[int] = ()) -> Asked:
        """Begin a `call`, in this very step; `answer` is to follow."""
        return self._ask(op, args, fds)

    async def answer(self, asked: Asked) -> Answer:
        """Wait for what was asked: as `call`."""
        seconds = ANSWER_TIMEOUT if self._spoke else LOADING
        try:
            with trio.fail_after(seconds):
                await asked.done.wait()
        except trio.TooSlowError as error:
            asked.abandoned = True
            raise KernelFailure(
                f"network: {asked.op} not done after {seconds:.0f} s",
                hint="is the kernel's network stuck?",
            ) from error
        except BaseException:
            asked.abandoned = True
            raise
        return asked.outcome

    def tell(self, op: str, *args: Any) -> None:
        """Have an operation done whose answer nobody waits for; a failure goes to the journal."""
        asked = self._ask(op, args, ())
        asked.abandoned = True

    def _ask(self, op: str, args: tuple[Any, ...], fds: Sequence[int]) -> Asked:
        self.start()
        self._last += 1
        asked = self._asked[self._last] = Asked(op, wire.pack(self._last, op, *args), fds)
        if len(self._asked) == 1:
            self._expect()
        if self._sock is None or self._unsent or not _try(self._sock, asked):
            self._unsent.append(asked)
            self._writable.set()
        return asked

    async def run(self) -> None:
        """Keep the process, from when it is first wanted until cancelled."""
        await self._wanted.wait()
        try:
            while True:
                await self._live()
                journal.error("network process ended, starting another")
                self._ask_again()
                await trio.sleep(RESTART_PAUSE)
        finally:
            for number in [*self._asked]:
                self._fail(number)

    async def _live(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with ours:
            async with _process(theirs) as process:
                self._sock, self._spoke = ours, False
                self.pids = (*self.pids[-1:], process.pid)
                try:
                    async with open_nursery() as nursery:
                        start_soon(nursery, self._flush, ours)
                        await self._receive(ours)
                        nursery.cancel_scope.cancel()
                finally:
                    self._sock = None

    async def _flush(self, sock: socket.socket) -> None:
        while True:
            while self._unsent:
                if _try(sock, self._unsent[0]):
                    self._unsent.popleft()
                else:
                    await trio.lowlevel.wait_writable(sock)
            self._writable = trio.Event()
            await self._writable.wait()

    async def _receive(self, sock: socket.socket) -> None:
        """Take answers until there are no more: the process ended, or hangs."""
        while True:
            with trio.CancelScope() as self._patience:
                self._expect()
                await trio.lowlevel.wait_readable(sock)
            took = self._take(sock)
            if took is None:
                return
            if not took and self._patience.cancelled_caught:
                oldest = next(iter(self._asked.values()), None)
                journal.error("network process hangs, ending it", pid=self.pids[-1], op=oldest and oldest.op)
                return

    def _expect(self) -> None:
        """Have it taken for a hang when no answer comes in time. Nothing wakes up while none is due."""
        seconds = HANG if self._spoke else LOADING
        self._patience.deadline = trio.current_time() + seconds if self._asked else inf

    def _take(self, sock: socket.socket) -> int | None:
        """Take the answers that have come; return how many, None at the end of them."""
        count = 0
        while True:
            try:
                received = wire.receive(sock)
            except BlockingIOError:
                return count
            except ConnectionResetError:
                return None
            except wire.Cut as cut:
                if cut.message is None:
                    return None
                asked = self._answered(cut.message[0])
                asked.settle(error=_no_descriptor(asked.op))
            else:
                if received is None:
                    return None
                (number, *message), fds = received
                self._answered(number).hear(message, fds)
            count += 1

    def _answered(self, number: int) -> Asked:
        self._spoke, self._stillborn = True, 0
        return self._asked.pop(number)

    def _ask_again(self) -> None:
        """Have the next process do what the last one was asked and has not answered."""
        numbers = [*self._asked]
        if numbers:
            self._stillborn += not self._spoke
            oldest = self._asked[numbers[0]]
            oldest.ended += 1
            hopeless = numbers if self._stillborn >= LIVES else numbers[: oldest.ended >= LIVES]
            for number in hopeless:
                self._fail(number)
        self._unsent = deque(self._asked.values())

    def _fail(self, number: int) -> None:
        """It may have been done or not; nobody will say."""
        asked = self._asked.pop(number)
        error = KernelFailure(
            f"network: {asked.op}: the process that does it ended", errno=errno.EPIPE, hint="try again"
        )
        asked.settle(error=error)


def _no_descriptor(op: str) -> KernelFailure:
    """There was none for what came with the answer: that is gone, as nobody else has it."""
    return KernelFailure(f"network: {op}: {os.strerror(errno.EMFILE)}", errno=errno.EMFILE)


@asynccontextmanager
async def _process(theirs: socket.socket) -> AsyncGenerator[trio.Process]:
    """Run the process with its end of the socket, which nobody else has then."""
    with theirs, _lifeline() as lifeline:
        fds = (theirs.fileno(), lifeline.fileno())
        async with worker(_MODULE, f"{fds[0]} {fds[1]}", data=None, fds=fds) as process:
            theirs.close()
            lifeline.close()
            yield process


@contextmanager
def _lifeline() -> Generator[IO[bytes]]:
    """Yield the reading end of a pipe, whose other end goes with us."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(writer, "wb", buffering=0), open(reader, "rb", buffering=0) as lifeline:
        yield lifeline


def _try(sock: socket.socket, asked: Asked) -> bool:
    try:
        wire.send(sock, asked.message, asked.fds)
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True  # the end of the process is told by the end of its answers
    return True
