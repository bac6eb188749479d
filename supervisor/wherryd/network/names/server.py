"""One network's name server: answers what comes in by UDP and TCP, itself or through the forwarder."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from wherryd.network.names import answers
from wherryd.network.names.forward import receive_message
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherryd.network.names.answers import Question
    from wherryd.network.names.limits import Limits
    from wherryd.network.names.replies import Replies

CONNECTIONS_MAX, CONNECTIONS_EACH = 256, 8
"""By TCP, to one network, and of one container."""

IDLE = 10.0
"""Seconds without a question, or with an answer that nobody takes, after which a connection is closed."""

READING, TURN = 16, 64
"""What it takes to read a question, in replies that are known; and what is done before others have a turn."""

_DATAGRAM_MAX = 4096
_PAUSE = 0.1
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class NameServer:
    """Answers for one network."""

    def __init__(self, replies: Replies, limits: Limits) -> None:
        self._replies = replies
        self._limits = limits
        self._connections: Counter[str] = Counter()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Answer at these sockets, until cancelled."""
        async with open_nursery() as nursery:
            for sock in sockets:
                serve = self._serve_udp if sock.type == socket.SOCK_DGRAM else self._serve_tcp
                start_soon(nursery, serve, sock, nursery)

    async def _serve_udp(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        """Answer datagrams, until cancelled; questions about others' names each in a task of their own."""
        while True:
            await trio.lowlevel.wait_readable(sock)
            self._replies.look()
            effort = 0
            while effort < TURN:
                try:
                    data, address = sock.recvfrom(_DATAGRAM_MAX)
                except BlockingIOError:
                    break
                effort += self._take(sock, nursery, data, address)

    def _take(self, sock: socket.socket, nursery: trio.Nursery, data: bytes, address: tuple[str, int]) -> int:
        """Answer a datagram, or have it answered; return what effort that was."""
        source = address[0].partition("%")[0]
        if not self._limits.questions.take(source):
            return 1
        reply = self._replies.again(data, source, tcp=False)
        if reply is not None:
            _send(sock, reply, address)
            return 1
        if not self._limits.readings.take(source):
            return 1
        question = answers.parse(data)
        if question is not None:
            reply = self._replies.reply_nowait(question, data, source, tcp=False)
            if reply is None:
                start_soon(nursery, self._forward_udp, sock, question, data, address)
            else:
                _send(sock, reply, address)
        return READING

    async def _serve_tcp(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        """Answer connections, until cancelled."""
        listening = trio.socket.from_stdlib_socket(sock)
        while True:
            try:
                connection, address = await listening.accept()
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    await trio.sleep(_PAUSE)
                continue
            source = address[0]
            if self._connections[source] >= CONNECTIONS_EACH or self._connections.total() >= CONNECTIONS_MAX:
                connection.close()
                continue
            self._connections[source] += 1
            start_soon(nursery, self._serve_connection, trio.SocketStream(connection), source)

    async def _serve_connection(self, stream: trio.SocketStream, source: str) -> None:
        try:
            async with stream:
                while await self._answer_next(stream, source):
                    pass
        except trio.BrokenResourceError:
            return  # the container hung up
        finally:
            self._connections -= Counter({source: 1})  # none is left of who has none

    async def _answer_next(self, stream: trio.SocketStream, source: str) -> bool:
        """Answer a connection's next question; say whether another one may follow."""
        with trio.move_on_after(IDLE):
            data = await receive_message(stream)
            if data is None or not self._limits.questions.take(source):
                return False
            self._replies.look()
            reply = self._replies.again(data, source, tcp=True)
            if reply is None:
                question = answers.parse(data) if self._limits.readings.take(source) else None
                if question is None:
                    return False
                reply = self._replies.reply_nowait(question, data, source, tcp=True)
                if reply is None:
                    reply = await self._replies.forward(question, data, source, tcp=True)
            await stream.send_all(len(reply).to_bytes(2, "big") + reply)
            return True
        return False

    async def _forward_udp(
        self, sock: socket.socket, question: Question, data: bytes, address: tuple[str, int]
    ) -> None:
        source = address[0].partition("%")[0]
        _send(sock, await self._replies.forward(question, data, source, tcp=False), address)


def _send(sock: socket.socket, reply: bytes, address: tuple[str, int]) -> None:
    with suppress(OSError):  # gone, or its bridge is full: it asks again
        sock.sendto(reply, address)
