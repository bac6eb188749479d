"""Standard streams for a command in a container: pipes between us and it, and the lifeline.

Owns the descriptors of both sides until they are sent or closed. Must never read or write.
"""

from __future__ import annotations

import _socket as socket
import os

from wherry.session import close_all
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class HasFileno(Protocol):
        """A file object."""

        def fileno(self) -> int:
            """Return the descriptor."""
            ...

    Target = int | HasFileno | None
    """PIPE, DEVNULL (or None), a descriptor, or a file object."""

PIPE, STDOUT, DEVNULL = -1, -2, -3
"""As in the subprocess module: a pipe to us; for standard error, where standard output goes; nowhere."""

STDIN_FD, STDOUT_FD, STDERR_FD = 0, 1, 2

_PAIR = (socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Streams:
    """`ours` are our ends of the pipes by stream number; `numbers` says which streams `theirs` are.

    The lifeline is a pipe of which the supervisor gets the reading end, first of `theirs`: when all copies of
    the other are gone, because we are, the command is killed. With `told` it is a pair of sockets, and our
    end, `end`, is where the launcher tells of the command's end: see the Exec request.
    """

    def __init__(
        self, stdin: Target = None, stdout: Target = None, stderr: Target = None, *, told: bool = False
    ) -> None:
        self.ours: dict[int, int] = {}
        self.numbers: tuple[int, ...] = ()
        self.theirs: list[int] = []
        self._made: list[int] = []
        self._lifeline: int | None = None
        self.end: socket.socket | None = None
        try:
            self._add(None, self._pair() if told else self._pipe())
            self._open(STDIN_FD, stdin)
            self._open(STDOUT_FD, stdout)
            self._open(STDERR_FD, self._same(stdout) if stderr == STDOUT else stderr)
        except BaseException:
            self.close()
            raise

    def sent(self) -> None:
        """Close the ends that the command has now."""
        close_all(self._made)
        self._made.clear()
        self.theirs.clear()

    def close_end(self, number: int) -> None:
        """Close our end of a pipe."""
        fd = self.ours.pop(number, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close everything: a command that still runs is killed."""
        self.sent()
        for number in tuple(self.ours):
            self.close_end(number)
        fd, self._lifeline = self._lifeline, None
        if fd is not None:
            os.close(fd)
        if self.end is not None:
            self.end.close()

    def _pipe(self) -> int:
        reader, self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._made.append(reader)
        return reader

    def _pair(self) -> int:
        self.end, theirs = socket.socketpair(*_PAIR)
        fd = theirs.detach()
        self._made.append(fd)
        return fd

    def _add(self, number: int | None, fd: int) -> None:
        self.theirs.append(fd)
        if number is not None:
            self.numbers = (*self.numbers, number)

    def _same(self, stdout: Target) -> Target:
        """Return where standard output went, for standard error to go there too."""
        return self.theirs[-1] if stdout == PIPE else stdout

    def _open(self, number: int, target: Target) -> None:
        if target is None or target == DEVNULL:
            return
        if target != PIPE:
            self._add(number, _descriptor(target))
            return
        reader, writer = os.pipe2(os.O_CLOEXEC)
        theirs, self.ours[number] = (reader, writer) if number == STDIN_FD else (writer, reader)
        self._made.append(theirs)
        self._add(number, theirs)


def _descriptor(target: Any) -> int:
    fd: int = target if isinstance(target, int) else target.fileno()
    if fd < 0:
        raise BadRequest(f"stream {target!r}: expected PIPE, DEVNULL, a descriptor or a file")
    return fd
