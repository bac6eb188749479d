"""The launcher's side of the connection to the supervisor. Must never block on it, nor lose a message."""

from __future__ import annotations

import _socket
import os
import select
import struct

from wherryd.kernel.shortage import DESCRIPTORS, MEMORY, shortage
from wherryd.kernel.syscalls import accept4
from wherryd.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UCRED = struct.Struct("3i")
_FAMILY = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def accept(listener: _socket.socket) -> _socket.socket | None:
    """Return a connection of our own user's or root's; None if it was another's or is gone already.

    Raises OSError when there is no descriptor for it: it waits, and would be told of again at once.
    """
    try:
        fd = accept4(listener.fileno())
    except OSError as error:
        if shortage(error) in (*DESCRIPTORS, *MEMORY):
            raise
        return None  # whoever it was hung up
    sock = _socket.socket(*_FAMILY, 0, fd)
    _, uid, _ = _UCRED.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size))
    if uid in (0, os.geteuid()):
        return sock
    sock.close()
    return None


class Peer:
    """A connected supervisor, with what it has not yet read."""

    def __init__(self, sock: _socket.socket, poll: select.epoll) -> None:
        self._sock = sock
        self._poll = poll
        self._waiting: list[tuple[bytes, tuple[int, ...]]] = []

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def say(self, data: bytes, fds: tuple[int, ...]) -> None:
        """Send a message now, or when the supervisor reads again.

        Raises OSError when there are no descriptors to keep it with until then.
        """
        if not self._waiting and self._try(data, fds):
            return
        # The originals may be closed by a release before it is this message's turn.
        self._waiting.append((data, _duplicates(fds)))
        self._poll.modify(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        while self._waiting and self._try(*self._waiting[0]):
            self._drop(self._waiting.pop(0))
        if not self._waiting:
            self._poll.modify(self._sock.fileno(), select.EPOLLIN)

    def _try(self, data: bytes, fds: tuple[int, ...]) -> bool:
        try:
            wire.send(self._sock, data, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True  # it is gone, as the loop will read in a moment; the next one asks for a list
        return True

    def receive(self) -> tuple[tuple[Any, ...], list[int]] | None:
        """Return a request with its descriptors; None when the supervisor is gone or speaks nonsense.

        Raises Cut when we have no descriptors left for those of a request.
        """
        try:
            return wire.receive(self._sock)
        except wire.Cut as cut:
            if cut.message is not None:
                raise
            return None
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Hang up."""
        for waiting in self._waiting:
            self._drop(waiting)
        self._sock.close()

    @staticmethod
    def _drop(waiting: tuple[bytes, tuple[int, ...]]) -> None:
        for fd in waiting[1]:
            os.close(fd)


def _duplicates(fds: tuple[int, ...]) -> tuple[int, ...]:
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))  # noqa: PERF401 - those that there are have to be closed when one fails
    except OSError:
        for fd in made:
            os.close(fd)
        raise
    return tuple(made)
