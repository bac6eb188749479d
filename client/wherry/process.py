"""A command in a container, for the plain client.

Owns its connection, pipes and lifeline. Must never outlive its `with` block: leaving it kills a command that
still runs, unless it was detached.
"""

from __future__ import annotations

import _socket as socket
import fcntl
import os
import struct
import time

from wherry.conversation import Conversation, ready_of
from wherry.result import ExecResult
from wherry.streams import STDERR_FD, STDIN_FD, STDOUT_FD
from wherry_protocol.errors import ConnectionFailed, ProtocolError
from wherry_protocol.processes import ExecDetach, ExecKill, ExecStarted, ExecWait, exec_end
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import IO, Any, Self

    from wherry.event_stream import EventStream
    from wherry.streams import Streams
    from wherry.verbs.base import VerbsBase
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.processes import Exec

RECONNECT = 10.0
"""Seconds to look for a supervisor that is being restarted: the command goes on meanwhile."""

RECONNECT_PAUSE = 0.1

HEARS_ENDS = True
"""Whether `communicate` listens for the end that is told at the other end of the lifeline."""

_END_SIZE = 256
_TIOCSWINSZ = 0x5414


class Process:
    """A command in a container.

    `stdin` (unbuffered), `stdout` and `stderr` are binary files, or None where no pipe was asked for. With a
    tty, `terminal` is the descriptor of its master once the command has started.
    """

    def __init__(self, client: VerbsBase, call: Exec, streams: Streams) -> None:
        self._client = client
        self._name = call.ref
        self._streams = streams
        # With a terminal, there is nothing to go on with unless that has arrived.
        self._resume_id = None if call.spec.tty else call.exec_id
        self._started: ExecStarted | None = None
        self._pid: int | None = None
        self._end = streams.end
        self.terminal: int | None = None
        try:
            self._stream: EventStream[Any, ExitStatus] = client.stream(call, streams.theirs)
        except BaseException:
            streams.close()
            raise
        streams.sent()
        self._files: dict[int, IO[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def stdin(self) -> IO[bytes] | None:
        """Our end of its standard input."""
        return self._file(STDIN_FD, "wb", 0)

    @property
    def stdout(self) -> IO[bytes] | None:
        """Our end of its standard output."""
        return self._file(STDOUT_FD, "rb", -1)

    @property
    def stderr(self) -> IO[bytes] | None:
        """Our end of its standard error."""
        return self._file(STDERR_FD, "rb", -1)

    @property
    def started(self) -> ExecStarted:
        """Its id and host pid, once it executes. Raises CommandNotFound and the like when it cannot."""
        while self._started is None and not self._stream.ended:
            self.receive()
        if self._started is None:
            status = self._stream.answer
            if self._pid is None:
                raise ConnectionFailed(f"exec: an end without a start: {status}")
            self._started = ExecStarted(id=self._resume_id or "", pid=self._pid)
        return self._started

    @property
    def id(self) -> str:
        """The exec's id: 64 hex digits."""
        return self.started.id

    @property
    def pid(self) -> int:
        """The process id, as the host counts."""
        return self.started.pid

    @property
    def ended(self) -> bool:
        """Whether its end has arrived here."""
        return self._stream.ended

    def fileno(self) -> int:
        """Return a descriptor that is readable when receive() will not wait, for loops that poll.

        Not of one whose end is told elsewhere, as only exec() has it: see `sources`.
        """
        return self._stream.fileno()

    @property
    def sources(self) -> tuple[int, ...]:
        """Descriptors of which one is readable when receive() will not wait."""
        wire = self._stream.fileno()
        return (wire,) if self._end is None else (self._end.fileno(), wire)

    def receive(self) -> None:
        """Wait for news and take it in."""
        sources = self.sources
        self.take_in(sources if len(sources) == 1 else ready_of(None, *sources))

    def take_in(self, ready: Container[int]) -> None:
        """Take the news in of those of `sources` that are ready."""
        if self._end is not None and self._end.fileno() in ready and self._heard(self._end):
            return
        if self._stream.fileno() in ready:
            self._receive()

    def _heard(self, end: socket.socket) -> bool:
        """Take the end in that the launcher tells of; False if it has not, or never will."""
        try:
            data = end.recv(_END_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if not data:
            self._end = None  # nobody is left who could: the answer comes where all others do
            return False
        self._pid, status = exec_end(data)
        self._stream.settle(status)
        return True

    def _receive(self) -> None:
        try:
            for event in self._stream.receive():
                self._started, self.terminal = event, self._stream.take_fd()
        except ConnectionFailed as error:
            self._reconnect(error)

    def wait(self) -> ExitStatus:
        """Return its exit, once it has ended. One that fills a pipe which nobody reads never does."""
        while not self._stream.ended:
            self.receive()
        return self._stream.answer

    def communicate(self, data: bytes | None = None) -> ExecResult:
        """Feed standard input, which then ends, gather what is printed, and return that with the exit.

        What processes that it left behind print after its end is not waited for.
        """
        talk = Conversation(self, data)
        talk.wait_a_moment()
        while not self._stream.ended:
            talk.turn()
        talk.finish()
        status = self._stream.answer
        exec_id = self._started.id if self._started else self._resume_id
        return ExecResult(id=exec_id or "", name=self._name, exit=status, stdout=talk.out, stderr=talk.err)

    def send_signal(self, signal: str | int) -> None:
        """Send a signal, by name or number."""
        text = str(int(signal)) if isinstance(signal, int) else signal
        self._client.call(ExecKill(exec_id=self.id, signal=text))

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal("KILL")

    def detach(self) -> None:
        """Let it go on when we go."""
        self._client.call(ExecDetach(exec_id=self.id))

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal a size."""
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, _TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def close(self) -> None:
        """Let go of it: a command that still runs is killed, with all that it started."""
        for file in self._files.values():
            file.close()
        terminal, self.terminal = self.terminal, None
        if terminal is not None:
            os.close(terminal)
        self._stream.close()
        self._streams.close()

    def pipe(self, number: int) -> int | None:
        """Return our end of a stream's pipe, as the file of that stream has it; None if there is none."""
        file = self._files.get(number)
        return self._streams.ours.get(number) if file is None else file.fileno()

    def close_pipe(self, fd: int) -> None:
        """Close our end of a stream's pipe, if it is one, and no file has it."""
        for number, end in self._streams.ours.items():
            if end == fd:
                self._streams.close_end(number)
                return

    def _file(self, number: int, mode: str, buffering: int) -> IO[bytes] | None:
        """Return the file of a pipe, made when it is asked for: many are read without one."""
        file = self._files.get(number)
        if file is None:
            fd = self._streams.ours.pop(number, None)
            if fd is None:
                return None
            # It owns the descriptor from here on.
            file = self._files[number] = open(fd, mode, buffering)  # noqa: SIM115 - closed by close()
        return file

    def _reconnect(self, error: ConnectionFailed) -> None:
        """Ask the next supervisor for the end."""
        exec_id = self._started.id if self._started else self._resume_id
        if exec_id is None or (self._started is None and isinstance(error, ProtocolError)):
            raise error  # the supervisor said why it hung up: there is no such exec
        self._stream.close()
        end, self._end = self._end, None
        if end is not None and self._heard(end):
            return
        deadline = time.monotonic() + RECONNECT
        while True:
            try:
                self._stream = self._client.stream(ExecWait(exec_id=exec_id))
            except ConnectionFailed:
                if time.monotonic() > deadline:
                    raise error from None
                time.sleep(RECONNECT_PAUSE)
            else:
                return
