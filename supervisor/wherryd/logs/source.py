"""Where a container's bytes come from: a pipe, or a terminal's master.

Owns the descriptors it is given. Both kinds lose nothing when this process is killed at any
instant, as long as another process holds duplicates of them: bytes are taken by `splice` alone.
"""

from __future__ import annotations

import os
import select
from errno import EIO
from typing import TYPE_CHECKING

from wherryd.logs.overflow import Overflow, resize, waiting

if TYPE_CHECKING:
    from wherryd.logs.limits import LogLimits
    from wherryd.logs.log import Log
    from wherryd.logs.segment import Segment

TURN = 1 << 20
"""At most this many bytes of one source before the others have their turn."""


class Pipe:
    """The read end of a pipe that the container writes to.

    `left`: None, or how many bytes are still to come before the source is given up.
    `ended`: there will be no more bytes than those already taken from `fd`.
    `watched`: the pump's epoll has it.
    """

    def __init__(self, log: Log, number: int, fd: int) -> None:
        self.log = log
        self.number = number
        self.fd = fd
        self.left: int | None = None
        self.ended = False
        self.watched = False
        self.overflow: Overflow | None = None
        self.bound(log.limits)

    def look(self, events: int) -> None:
        """Take note of what epoll said of `fd`."""
        # A pipe without EPOLLIN is empty; with all writers gone it stays so.
        self.ended = not events & select.EPOLLIN

    def move(self, segment: Segment) -> int:
        """Move a turn of bytes to the segment. Raises OSError when they cannot be written."""
        moved = flush(self, segment)
        if self.ended or segment.held or not (self.overflow is None or self.overflow.idle):
            return moved
        taken = segment.take(self.fd, self.number, TURN if self.left is None else self.left)
        if self.left is not None:
            self.left -= taken
            self.ended = self.left <= 0 or waiting(self.fd) == 0
        return moved + taken

    def make_room(self, segment: Segment) -> bool:
        """Drop what the container would have to wait for; say whether that was anything."""
        if self.overflow is None:
            return False
        dropped = self.overflow.make_room(self.fd, segment)
        if self.left is not None:
            self.left -= dropped
        return dropped > 0

    def bound(self, limits: LogLimits) -> None:
        """Have other limits hold: what was kept aside, and counted, is written all the same."""
        self.overflow = _overflow(self, self.fd, limits)

    def give_up(self) -> None:
        """Make what the pipe holds now the last of it."""
        self.left = waiting(self.fd)
        self.ended = self.left == 0

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.fd)


class Terminal:
    """A pty's master, emptied through a staging pipe, because splice wants a pipe on one side.

    The master's file description is made non-blocking, which every duplicate shares: whoever
    writes to one must expect EAGAIN.
    What is in the staging pipe when this process is killed survives only if another process holds
    a duplicate of that too.
    """

    def __init__(self, log: Log, number: int, fd: int, staging: tuple[int, int]) -> None:
        self.log = log
        self.number = number
        self.fd = fd
        self.ended = False
        self.watched = False
        self._out, self._in = staging
        os.set_blocking(fd, False)
        self.overflow: Overflow | None = None
        self.bound(log.limits)

    def look(self, events: int) -> None:
        """Nothing to note: only reading tells a hung-up terminal that still holds bytes from an empty one."""

    def move(self, segment: Segment) -> int:
        """Move what was left in the staging pipe, then a turn from the terminal."""
        moved = flush(self, segment)
        if not (self.overflow is None or self.overflow.idle):
            return moved
        moved += self._empty(segment)
        self._fill()
        return moved + self._empty(segment)

    def make_room(self, segment: Segment) -> bool:
        """Drop what the container would have to wait for; say whether that was anything."""
        if self.overflow is None:
            return False
        self._fill()
        return self.overflow.make_room(self._out, segment) > 0

    def bound(self, limits: LogLimits) -> None:
        """Do as a pipe does."""
        self.overflow = _overflow(self, self._out, limits)

    def give_up(self) -> None:
        """Take what the terminal holds now as the last of it."""
        self._fill()
        self.ended = True

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.fd, self._out, self._in):
            os.close(fd)

    def _fill(self) -> None:
        if self.ended:
            return
        try:
            self.ended = os.splice(self.fd, self._in, TURN, flags=os.SPLICE_F_NONBLOCK) == 0
        except BlockingIOError:
            return
        except OSError as error:
            # tty_ioctl(4): reading a master whose slaves are all closed is EIO, once it is empty.
            if error.errno != EIO:
                raise
            self.ended = True

    def _empty(self, segment: Segment) -> int:
        moved = 0
        while waiting(self._out) and not segment.held:
            moved += segment.take(self._out, self.number, TURN)
        return moved


Source = Pipe | Terminal


def is_over(pipe: int) -> bool:
    """Say whether a pipe is empty and has no writer, so that nothing will ever come from it."""
    look = select.poll()
    look.register(pipe, select.POLLIN)
    return [events for _, events in look.poll(0)] == [select.POLLHUP]


def _overflow(source: Source, pipe: int, limits: LogLimits) -> Overflow | None:
    """Return what a source has to drop with: nothing, if it never was one that does not block."""
    if source.overflow is None and limits.blocking:
        return None
    resize(pipe, limits.buffer)
    return source.overflow or Overflow(source.number)


def flush(source: Source, segment: Segment) -> int:
    """Write what was kept aside, and what was dropped; return how many bytes that was. Raises OSError."""
    overflow = source.overflow
    if overflow is None or overflow.idle:
        return 0
    moved = 0
    while overflow.head and (written := segment.put(source.number, overflow.head)):
        overflow.head = overflow.head[written:]
        moved += written
    if overflow.head or not _tell(source, segment, overflow):
        return moved
    if overflow.rest:
        written = segment.put(source.number, overflow.rest)
        overflow.begin_line(written)
        return moved + written
    overflow.flushed()
    return moved


def _tell(source: Source, segment: Segment, overflow: Overflow) -> bool:
    if not overflow.bytes:
        return True
    if not segment.put_gap(source.number, overflow.bytes, overflow.lines):
        return False
    source.log.dropped_now.append((overflow.bytes, overflow.lines))
    overflow.bytes = overflow.lines = 0
    return True
