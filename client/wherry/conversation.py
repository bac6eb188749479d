"""What goes in and comes out of a command until its end, for the plain client.

Owns what was gathered; the descriptors are the process's. Must never wait for one of them longer than for
the others.
"""

from __future__ import annotations

import errno
import os
import select
import time

from wherry.streams import STDERR_FD, STDOUT_FD
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import IO

    from wherry.process import Process

MOMENT = 3
"""Milliseconds. Who prints more than a pipe holds may have to wait for so long, once."""

AT_ONCE = 0.0001
"""Seconds in which the end of a command that has closed what it printed to is told."""

_CHUNK = 1 << 16


class Conversation:
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

        What it prints stays in its pipes, which would wake us as it comes. One of them wakes us as it is
        closed: there is something to do until the end is told.
        """
        if self._input is not None:
            return
        sources = self._process.sources
        ready = ready_of(MOMENT, *sources, closing=next(iter(self._outputs), None))
        if ready and ready.keys().isdisjoint(sources):
            self._read(ready_of(0, *self._outputs))
            ready = _ready_at_once(sources) or ready_of(MOMENT, *sources)
        if ready:
            self._receive(ready)

    def turn(self) -> None:
        """Wait for something to happen and deal with all of it."""
        into = None if self._input is None else self._input.fileno()
        sources = self._process.sources
        ready = ready_of(None, *sources, *self._outputs, into=into)
        if self._input is not None and into in ready:
            self._write(self._input)
        self._read(ready)
        if not ready.keys().isdisjoint(sources):
            self._receive(ready)

    def finish(self) -> None:
        """Take what was printed before the end."""
        while self._outputs and (ready := ready_of(0, *self._outputs)):
            self._read(ready)

    def _receive(self, ready: Container[int]) -> None:
        self._process.take_in(ready)
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
                self._process.close_pipe(fd)

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


def ready_of(
    milliseconds: int | None, *fds: int, into: int | None = None, closing: int | None = None
) -> dict[int, int]:
    """Return which descriptors can be read, or written `into`, once one can or the time is over, and why.

    Of a pipe that may be `closing` just that its other end is closed counts.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    if closing is not None:
        poll.register(closing, 0)
    if into is not None:
        poll.register(into, select.POLLOUT)
    return dict(poll.poll(milliseconds))


def _ready_at_once(fds: tuple[int, ...]) -> dict[int, int]:
    """Return which descriptors can be read, looking again and again for as long as to fall asleep takes."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    until = time.monotonic() + AT_ONCE
    while not (ready := poll.poll(0)) and time.monotonic() < until:
        os.sched_yield()
    return dict(ready)
