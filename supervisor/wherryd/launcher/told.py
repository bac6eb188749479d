"""The shortest way of an exit: from the launcher to the client that waits for it, past the supervisor.

A client that wants that keeps one end of a pair of Unix sockets, and its lifeline is the other one. It is the
launcher's, as any lifeline: no worker, and so no process in a container, ever has it. Must never wait, and
never guess: whom it could not tell the supervisor answers.
"""

from __future__ import annotations

import _socket
import os

from wherryd.launcher import wire

_KIND = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
_AT_ONCE = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


class Listener:
    """A client that listens at the other end of its lifeline. Has a duplicate of that."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock

    @classmethod
    def at(cls, lifeline: int) -> Listener | None:
        """Return who listens; None if the lifeline is a pipe, or whatever else a client may have handed over.

        To whom we speak, we speak as root.
        """
        try:
            sock = _socket.socket(fileno=lifeline)
            kind = sock.family, sock.type
            sock.detach()
            return cls(_socket.socket(*_KIND, 0, os.dup(lifeline))) if kind == _KIND else None
        except OSError:
            return None  # a pipe, or there is no descriptor left: the supervisor tells

    def tell(self, pid: int, code: int | None, signal: int | None) -> bool:
        """Send how a process ended; False when its client is gone, or has filled its own queue."""
        try:
            self._sock.send(wire.pack(pid, code, signal), _AT_ONCE)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the client."""
        self._sock.close()
