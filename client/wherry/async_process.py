"""A command in a container, for the async client.

Owns its connection, pipes and lifeline. Must never outlive its `async with` block: leaving it kills a
command that still runs, unless it was detached.
"""

from __future__ import annotations

import fcntl
import struct
from typing import TYPE_CHECKING, Any, Self

import anyio

from wherry.async_event_stream import first_error
from wherry.async_pipe import AsyncReader, AsyncWriter
from wherry.result import ExecResult
from wherry.streams import STDERR_FD, STDIN_FD, STDOUT_FD
from wherry_protocol.errors import ConnectionFailed, ProtocolError
from wherry_protocol.processes import ExecDetach, ExecKill, ExecWait

if TYPE_CHECKING:
    from wherry.async_event_stream import AsyncEventStream
    from wherry.async_verbs.base import AsyncVerbsBase
    from wherry.streams import Streams
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.processes import Exec, ExecStarted

RECONNECT = 10.0
"""Seconds to look for a supervisor that is being restarted: the command goes on meanwhile."""

RECONNECT_PAUSE = 0.1

HEARS_ENDS = False
"""As in process.py: here tasks would wait, and one more costs what there is to gain."""

_TIOCSWINSZ = 0x5414


class AsyncProcess:
    """A command in a container, started when its `async with` block is entered.

    `stdin`, `stdout` and `stderr` are None where no pipe was asked for. With a tty, `terminal` is what it
    shows, once the command has started, and `terminal.fd` its master, to write to.
    """

    def __init__(self, client: AsyncVerbsBase, call: Exec, streams: Streams) -> None:
        self._client = client
        self._name = call.ref
        self._tty = call.spec.tty
        self._streams = streams
        # With a terminal, there is nothing to go on with unless that has arrived.
        self._resume_id = None if call.spec.tty else call.exec_id
        self._started: ExecStarted | None = None
        self._stream: AsyncEventStream[Any, ExitStatus] = client.stream(call, streams.theirs)
        self.terminal: AsyncReader | None = None
        self.stdin = AsyncWriter.of(streams, STDIN_FD)
        self.stdout = AsyncReader.of(streams, STDOUT_FD)
        self.stderr = AsyncReader.of(streams, STDERR_FD)

    async def __aenter__(self) -> Self:
        try:
            await self._stream.__aenter__()
        except BaseException:
            await self.aclose()
            raise
        self._streams.sent()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def started(self) -> ExecStarted:
        """Return its id and host pid, once it executes. Raises CommandNotFound and the like."""
        while self._started is None and not self._stream.ended:
            await self._receive()
        if self._started is None:
            raise ConnectionFailed(f"exec: an end without a start: {self._stream.answer}")
        return self._started

    async def wait(self) -> ExitStatus:
        """Return its exit, once it has ended. One that fills a pipe which nobody reads never does."""
        while not self._stream.ended:
            await self._receive()
        return self._stream.answer

    async def communicate(self, data: bytes | None = None) -> ExecResult:
        """Feed standard input, which then ends, gather what is printed, and return that with the exit.

        What processes that it left behind print after its end is not waited for.
        """
        if self._tty:
            await self.started()
        out, err = bytearray(), bytearray()
        both = ((self.stdout or self.terminal, out), (self.stderr, err))
        readers = [(reader, gathered) for reader, gathered in both if reader is not None]
        try:
            async with anyio.create_task_group() as group:
                for reader, gathered in readers:
                    group.start_soon(reader.gather, gathered)
                if self.stdin is not None:
                    group.start_soon(self.stdin.feed, data or b"")
                await self.wait()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as group_error:
            raise first_error(group_error) from group_error
        for reader, gathered in readers:
            reader.gather_nowait(gathered)
        return self._result(bytes(out), bytes(err))

    async def send_signal(self, signal: str | int) -> None:
        """Send a signal, by name or number."""
        text = str(int(signal)) if isinstance(signal, int) else signal
        await self._client.call(ExecKill(exec_id=(await self.started()).id, signal=text))

    async def kill(self) -> None:
        """Send SIGKILL."""
        await self.send_signal("KILL")

    async def detach(self) -> None:
        """Let it go on when we go."""
        await self._client.call(ExecDetach(exec_id=(await self.started()).id))

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal a size."""
        if self.terminal is not None and self.terminal.fd is not None:
            fcntl.ioctl(self.terminal.fd, _TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    async def aclose(self) -> None:
        """Let go of it: a command that still runs is killed, with all that it started."""
        for pipe in (self.stdin, self.stdout, self.stderr, self.terminal):
            if pipe is not None:
                pipe.close()
        await self._stream.aclose()
        self._streams.close()

    def _result(self, out: bytes, err: bytes) -> ExecResult:
        started, status = self._started, self._stream.answer
        identity = started.id if started else ""
        return ExecResult(id=identity, name=self._name, exit=status, stdout=out, stderr=err)

    async def _receive(self) -> None:
        try:
            for event in await self._stream.receive():
                self._started = event
                master = self._stream.take_fd()
                self.terminal = None if master is None else AsyncReader(master)
        except ConnectionFailed as error:
            await self._reconnect(error)

    async def _reconnect(self, error: ConnectionFailed) -> None:
        """Ask the next supervisor for the end."""
        exec_id = self._started.id if self._started else self._resume_id
        if exec_id is None or (self._started is None and isinstance(error, ProtocolError)):
            raise error  # the supervisor said why it hung up: there is no such exec
        await self._stream.aclose()
        with anyio.move_on_after(RECONNECT):
            while True:
                stream = self._client.stream(ExecWait(exec_id=exec_id))
                try:
                    await stream.__aenter__()
                except ConnectionFailed:
                    await anyio.sleep(RECONNECT_PAUSE)
                else:
                    self._stream = stream
                    return
        raise error
