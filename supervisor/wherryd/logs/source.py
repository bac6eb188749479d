"""Where a container's bytes come from: a pipe, or a terminal's master.

Owns the descriptors it is given. Both kinds lose nothing when this process is killed at any
instant, as long as another process holds duplicates of them: bytes are taken by `splice` alone.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
from errno import EIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherryd.logs.log import Log
    from wherryd.logs.segment import Segment

TURN = 1 << 20
"""At most this many bytes of one source before the others have their turn."""


def waiting(fd: int) -> int:
    """Return how many bytes a pipe holds (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


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

    def look(self, events: int) -> None:
        """Take note of what epoll said of `fd`."""
        # A pipe without EPOLLIN is empty; with all writers gone it stays so.
        self.ended = not events & select.EPOLLIN

    def move(self, segment: Segment) -> int:
        """Move a turn of bytes to the segment. Raises OSError when they cannot be written."""
        if self.ended:
            return 0
        moved = segment.take(self.fd, self.number, TURN if self.left is None else self.left)
        if self.left is not None:
            self.left -= moved
            self.ended = self.left <= 0 or waiting(self.fd) == 0
        return moved

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

    def look(self, events: int) -> None:
        """Nothing to note: only reading tells a hung-up terminal that still holds bytes from an empty one."""

    def move(self, segment: Segment) -> int:
        """Move what was left in the staging pipe, then a turn from the terminal."""
        moved = self._empty(segment)
        self._fill()
        return moved + self._empty(segment)

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
