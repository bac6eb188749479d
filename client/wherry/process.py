"""A command in a container, for the plain client.

Owns its connection, pipes and lifeline. Must never outlive its `with` block: leaving it kills a command that
still runs, unless it was detached.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import time

from wherry.result import ExecResult
from wherry.streams import STDERR_FD, STDIN_FD, STDOUT_FD
from wherry_protocol.errors import ConnectionFailed
from wherry_protocol.processes import ExecDetach, ExecKill, ExecWait
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, Any, Self

    from wherry.event_stream import EventStream
    from wherry.streams import Streams
    from wherry.verbs.base import VerbsBase
    from wherry_protocol.containers import ExitStatus
    from wherry_protocol.processes import Exec, ExecStarted

RECONNECT = 10.0
"""Seconds to look for a supervisor that is being restarted: the command goes on meanwhile."""

RECONNECT_PAUSE = 0.1

MOMENT = 3
"""Milliseconds. Who prints more than a pipe holds may have to wait for so long, once."""

_CHUNK = 1 << 16
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
            raise ConnectionFailed(f"exec: an end without a start: {self._stream.answer}")
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
        """Return a descriptor that is readable when receive() will not wait, for loops that poll."""
        return self._stream.fileno()

    def receive(self) -> None:
        """Wait for news and take it in."""
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
        talk = _Conversation(self, data)
        talk.wait_a_moment()
        while not self._stream.ended:
            talk.turn()
        talk.finish()
        status = self._stream.answer
        started = self._started
        return ExecResult(
            id=started.id if started else "", name=self._name, exit=status, stdout=talk.out, stderr=talk.err
        )

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
        if exec_id is None:
            raise error
        self._stream.close()
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


class _Conversation:
    """What goes in and comes out of a command until its end."""

    def __init__(self, process: Process, data: bytes | None) -> None:
        self._process = process
        self._left = memoryview(data or b"")
        self._input = process.stdin
        self._outputs: dict[int, bytearray] = {}
        self._out, self._err = bytearray(), bytearray()
        for number, gathered in ((STDOUT_FD, self._out), (STDERR_FD, self._err)):
            fd = process.pipe(number)
            if fd is not None:
                self._outputs[fd] = gathered
        if self._input is not None:
            os.set_blocking(self._input.fileno(), False)

    @property
    def out(self) -> bytes:
        """Everything from standard output, or the terminal."""
        return bytes(self._out)

    @property
    def err(self) -> bytes:
        """Everything from standard error."""
        return bytes(self._err)

    def wait_a_moment(self) -> None:
        """Wait for the end of a command that has nothing to read, if that comes in a moment.

        What it prints stays in its pipes, which would wake us as it comes, and each again as it is closed.
        """
        if self._input is None and _ready(MOMENT, self._process.fileno()):
            self._receive()

    def turn(self) -> None:
        """Wait for something to happen and deal with all of it."""
        into = None if self._input is None else self._input.fileno()
        ready = _ready(None, self._process.fileno(), *self._outputs, into=into)
        if self._input is not None and into in ready:
            self._write(self._input)
        self._read(ready)
        if self._process.fileno() in ready:
            self._receive()

    def finish(self) -> None:
        """Take what was printed before the end."""
        while self._outputs and (ready := _ready(0, *self._outputs)):
            self._read(ready)

    def _receive(self) -> None:
        self._process.receive()
        if self._process.terminal is not None:
            self._outputs.setdefault(self._process.terminal, self._out)

    def _read(self, ready: dict[int, int]) -> None:
        """Read what is ready: only then, as it would wait for more otherwise."""
        for fd in [fd for fd in self._outputs if fd in ready]:
            try:
                data = os.read(fd, _CHUNK) if ready[fd] & select.POLLIN else b""
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""  # nobody has the terminal open any more
            self._outputs[fd] += data
            if not data:
                del self._outputs[fd]

    def _write(self, file: IO[bytes]) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(file.fileno(), self._left[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # nobody reads any more: a command may end before it has read its input
        file.close()
        self._input = None


def _ready(milliseconds: int | None, *fds: int, into: int | None = None) -> dict[int, int]:
    """Return which descriptors can be read, or written `into`, once one can or the time is over, and why."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    if into is not None:
        poll.register(into, select.POLLOUT)
    return dict(poll.poll(milliseconds))
