"""What a stream loses whose container is not to wait for its log: whole lines, the oldest that wait, counted.

The pipe is the buffer. While the log cannot be written it is kept at most half full, by reading what is too
much of it. A line whose beginning is in the log already is not cut: its rest is kept aside, as is the
beginning of the line that was read last; each is at most LINE bytes, what a line has more is dropped.

Owns these bytes and the counts, until the log has taken them. They are in this process only: what is kept
aside, and counted but not yet in the log, is gone when it is killed while a log is in trouble.
"""

from __future__ import annotations

import array
import fcntl
import os
import termios
from errno import EBUSY, EPERM
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherryd.logs.segment import Segment

LINE = 65536
"""Bytes of a line that are kept aside."""


class Overflow:
    """Of one stream. `bytes` and `lines` were dropped since the log last heard of it."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self.bytes = 0
        self.lines = 0
        self.head = b""
        self.rest = b""
        self._inside = False
        self._skipping = False
        self._begun = False

    @property
    def idle(self) -> bool:
        """Say whether there is nothing that the log has still to take."""
        return not self._begun

    def make_room(self, fd: int, segment: Segment) -> int:
        """Drop what is more than half of a pipe, whole lines of it; return how much was taken out."""
        half = capacity(fd) // 2
        excess = waiting(fd) - half
        if excess <= 0:
            return 0
        if not self._begun:
            self._begun, self._inside = True, segment.ends_inside_line(self._stream)
        data = os.read(fd, excess)
        self._take(self.rest + data)
        return len(data)

    def begin_line(self, written: int) -> None:
        """Take note that the log has the first bytes of the line that was read last."""
        if written:
            self.head, self.rest, self._inside = self.rest[written:], b"", True

    def flushed(self) -> None:
        """Take note that the log has everything."""
        self.bytes = self.lines = 0
        self.head = self.rest = b""
        self._begun = False
        # A line that was too long goes on in the pipe.

    def _take(self, data: bytes) -> None:
        self.rest = b""
        if self._inside:
            data = self._keep_rest_of_line(data)
        if self._skipping:
            data = self._skip(data)
        whole, newline, part = data.rpartition(b"\n")
        self._drop(whole + newline)
        if len(part) > LINE:
            self._drop(part)
            self._skipping = True
        else:
            self.rest = part

    def _keep_rest_of_line(self, data: bytes) -> bytes:
        line, newline, after = data.partition(b"\n")
        line += newline
        room = LINE - len(self.head)
        self.head += line[:room]
        self._drop(line[room:])
        self._inside = not newline
        return after

    def _skip(self, data: bytes) -> bytes:
        line, newline, after = data.partition(b"\n")
        self._drop(line + newline)
        self._skipping = not newline
        return after

    def _drop(self, data: bytes) -> None:
        self.bytes += len(data)
        self.lines += data.count(b"\n")


def waiting(fd: int) -> int:
    """Return how many bytes a pipe holds (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def capacity(fd: int) -> int:
    """Return how many bytes fit in a pipe."""
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def resize(fd: int, size: int) -> None:
    """Give a pipe another size, unless it holds more, or we may not: it then stays as it is."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
    except OSError as error:
        if error.errno not in (EBUSY, EPERM):
            raise
