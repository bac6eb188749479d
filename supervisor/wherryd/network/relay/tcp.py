"""TCP through the relay: a connection comes in, one goes out, and each direction has a pipe between them."""

from __future__ import annotations

import fcntl
import os
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherryd.network.relay.loop import Loop

CONNECTIONS_MAX = 4096
"""At one port."""

_CHUNK = 1 << 20
_PIPE = 1 << 18
"""Bytes that wait in a pipe: what one side sent and the other does not take yet."""

_ROUNDS = 16
"""Chunks before another connection has its turn."""

_NOTHING, _READ, _WRITE = 0, select.EPOLLIN, select.EPOLLOUT


class Listener:
    """A listening socket, and what came by it; `target` is where it goes to."""

    def __init__(self, sock: socket.socket, target: tuple[str, int], loop: Loop) -> None:
        self._sock = sock
        self._target = target
        self._loop = loop
        self.connections: set[Connection] = set()

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch."""
        return (self._sock.fileno(),)

    def handle(self, events: int) -> None:
        """Take a connection."""
        del events
        try:
            incoming, _ = self._sock.accept()
        except OSError:
            return  # it is gone again, or another turn has room for it
        if len(self.connections) >= CONNECTIONS_MAX:
            incoming.close()
            return
        connection = Connection(incoming, self._target, self)
        self.connections.add(connection)
        self._loop.add(connection, _READ | _WRITE)

    def end(self, connection: Connection) -> None:
        """A connection is over."""
        self.connections.discard(connection)
        self._loop.discard(connection)
        connection.close()

    def change(self, fd: int, events: int) -> None:
        """Have a connection's descriptor watched for something else."""
        self._loop.change(fd, events)

    def close(self) -> None:
        """End everything that came by it."""
        self._loop.discard(self)
        self._sock.close()
        for connection in [*self.connections]:
            self.end(connection)


class Half:
    """One direction: from `source` through a pipe to `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(OSError):  # over the user's limit on pipes: the usual size does, more slowly
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _PIPE)
        self.waiting = 0
        self.ended = False
        self.shut = False

    def move(self) -> None:
        """Move what can be moved now. Raises OSError when a side is gone."""
        for _ in range(_ROUNDS):
            if not (self._take() | self._give()):
                break
        if self.ended and not self.waiting and not self.shut:
            self.shut = True
            self._sink.shutdown(socket.SHUT_WR)

    def _take(self) -> bool:
        if self.ended or self.waiting >= _PIPE:
            return False
        try:
            count = os.splice(self._source.fileno(), self.writer, _CHUNK, flags=_NONBLOCK)
        except BlockingIOError:
            return False
        self.ended = count == 0
        self.waiting += count
        return count > 0

    def _give(self) -> bool:
        if not self.waiting:
            return False
        try:
            count = os.splice(self.reader, self._sink.fileno(), self.waiting, flags=_NONBLOCK)
        except BlockingIOError:
            return False
        self.waiting -= count
        return count > 0

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.reader)
        os.close(self.writer)


_NONBLOCK = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Connection:
    """Two sockets and a pipe each way."""

    def __init__(self, incoming: socket.socket, target: tuple[str, int], listener: Listener) -> None:
        self._listener = listener
        self._incoming = incoming
        self._incoming.setblocking(False)
        self._outgoing = socket.socket(
            socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        for sock in (self._incoming, self._outgoing):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._halves = (Half(self._incoming, self._outgoing), Half(self._outgoing, self._incoming))
        self._connected = False
        self._outgoing.connect_ex(target)
        self._watched: dict[int, int] = dict.fromkeys(self.fds, _READ | _WRITE)

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch."""
        return self._incoming.fileno(), self._outgoing.fileno()

    def handle(self, events: int) -> None:
        """Move bytes; a side that is gone ends both."""
        if events & select.EPOLLERR:
            self._listener.end(self)
            return
        try:
            if not self._connected and not self._connects():
                return
            for half in self._halves:
                half.move()
        except OSError:
            self._listener.end(self)
            return
        if all(half.shut for half in self._halves):
            self._listener.end(self)
        else:
            self._watch()

    def _connects(self) -> bool:
        """Say whether the way out is there. Raises OSError when it is not to be had."""
        number = self._outgoing.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        try:
            self._outgoing.getpeername()
        except OSError:
            self._want(self._incoming, _NOTHING)
            self._want(self._outgoing, _WRITE)
            return False
        self._connected = True
        return True

    def _watch(self) -> None:
        """Watch for what is missing: room where bytes wait, bytes where there is room."""
        there, back = self._halves
        self._want(self._incoming, _wanted(there, back))
        self._want(self._outgoing, _wanted(back, there))

    def _want(self, sock: socket.socket, events: int) -> None:
        if self._watched[sock.fileno()] != events:
            self._watched[sock.fileno()] = events
            self._listener.change(sock.fileno(), events)

    def close(self) -> None:
        """Close everything; a connection that was cut in the middle is reset."""
        for half in self._halves:
            half.close()
        for sock in (self._incoming, self._outgoing):
            with suppress(OSError):
                sock.close()


def _wanted(source: Half, sink: Half) -> int:
    events = _READ if not source.ended and source.waiting < _PIPE else _NOTHING
    return events | (_WRITE if sink.waiting else _NOTHING)
