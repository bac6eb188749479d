"""The launcher's side of the connection to the supervisor. Must never block on it, nor lose a message."""

from __future__ import annotations

import _socket
import os
import select
import struct

from wherryd.kernel.syscalls import accept4
from wherryd.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UCRED = struct.Struct("3i")
_FAMILY = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def accept(listener: _socket.socket) -> _socket.socket | None:
    """Return a connection of our own user's or root's; None if it was another's or is gone already."""
    try:
        fd = accept4(listener.fileno())
    except OSError:
        return None  # whoever it was hung up, or we are out of descriptors and it will come again
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
        """Send a message now, or when the supervisor reads again."""
        if not self._waiting and self._try(data, fds):
            return
        # The originals may be closed by a release before it is this message's turn.
        self._waiting.append((data, tuple(map(os.dup, fds))))
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
        """Return a request with its descriptors; None when the supervisor is gone or speaks nonsense."""
        try:
            return wire.receive(self._sock)
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
