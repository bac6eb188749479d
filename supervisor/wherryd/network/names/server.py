"""One network's name server: answers what comes in by UDP and TCP, itself or through the forwarder."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from wherryd.network.names import answers, zone
from wherryd.network.names.forward import receive_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherryd.containers.registry import Registry
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import Network
    from wherryd.network.names.answers import Question
    from wherryd.network.names.forward import Forwarder

CONNECTIONS_MAX, CONNECTIONS_EACH = 256, 8
"""By TCP, to one network, and of one container."""

IDLE = 10.0
"""Seconds without a question, or with an answer that nobody takes, after which a connection is closed."""

_MESSAGE_MAX = 65535
_PAUSE = 0.1
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class NameServer:
    """Answers for `network`. `allows` says whether an address may ask once more."""

    def __init__(
        self,
        network: Network,
        *,
        registry: Registry,
        known: KnownNetworks,
        forwarder: Forwarder,
        allows: Callable[[str], bool],
    ) -> None:
        self._network = network
        self._registry = registry
        self._known = known
        self._forwarder = forwarder
        self._allows = allows
        self._connections: Counter[str] = Counter()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Answer at these sockets, until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in sockets:
                serve = self._serve_udp if sock.type == socket.SOCK_DGRAM else self._serve_tcp
                nursery.start_soon(serve, sock, nursery)

    async def _serve_udp(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        """Answer datagrams, until cancelled; questions about others' names each in a task of their own."""
        while True:
            try:
                data, address = sock.recvfrom(_MESSAGE_MAX)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            await trio.lowlevel.checkpoint()
            source = address[0].partition("%")[0]
            question = answers.parse(data) if self._allows(source) else None
            if question is None:
                continue
            reply = self._own(question, source)
            if reply is None:
                nursery.start_soon(self._forward_udp, sock, question, data, address)
            else:
                _send(sock, question, reply, address)

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
            nursery.start_soon(self._serve_connection, trio.SocketStream(connection), source)

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
            question = answers.parse(data) if data is not None and self._allows(source) else None
            if data is None or question is None:
                return False
            reply = self._own(question, source)
            if reply is None:
                reply = await self._forward(question, data, source, tcp=True)
            await stream.send_all(len(reply).to_bytes(2, "big") + reply)
            return True
        return False

    def _own(self, question: Question, source: str) -> bytes | None:
        """Return the answer that we can give; None when others have to be asked."""
        view = zone.view_of(self._registry, self._known, self._network, source)
        if view is None:
            return answers.refusal(question, answers.REFUSED)
        if question.kind == answers.PTR:
            return self._reverse(question, view)
        found = zone.addresses_of(self._registry, view, question.name)
        if found is not None:
            return answers.with_addresses(question, found)
        return None if view.outside else answers.refusal(question, answers.NXDOMAIN)

    def _reverse(self, question: Question, view: zone.View) -> bytes | None:
        address = zone.address_from_arpa(question.name)
        name = zone.name_of(self._registry, view, address) if address is not None else None
        if name is not None:
            return answers.with_name(question, name)
        if not view.outside or (address is not None and zone.is_ours(view, address)):
            return answers.refusal(question, answers.NXDOMAIN)
        return None

    async def _forward(self, question: Question, data: bytes, source: str, *, tcp: bool) -> bytes:
        view = zone.view_of(self._registry, self._known, self._network, source)
        servers = view.container.config.spec.dns if view is not None else ()
        return await self._forwarder.ask(question, data, servers, asker=source, tcp=tcp)

    async def _forward_udp(
        self, sock: socket.socket, question: Question, data: bytes, address: tuple[str, int]
    ) -> None:
        reply = await self._forward(question, data, address[0].partition("%")[0], tcp=False)
        _send(sock, question, reply, address)


def _send(sock: socket.socket, question: Question, reply: bytes, address: tuple[str, int]) -> None:
    """Send an answer, if the asker takes it; a bigger one than it can take has to be asked for by TCP."""
    if len(reply) > question.size:
        reply = answers.truncated(question)
    with suppress(OSError):  # gone, or its bridge is full: it asks again
        sock.sendto(reply, address)
