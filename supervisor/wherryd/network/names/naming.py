"""Names of containers on user networks: who answers when a container asks for one.

Each user network has a name server at its gateway's address, for the containers of that network alone: the
kernel passes what they send to port 53 there on to the port where we listen (rules/ruleset.py), so a name
server of the host's own is in nobody's way. It lives in the supervisor: while that is restarted a question
goes unanswered, and is asked again. Who asks is known by its address, which it cannot forge; it hears of
its own networks only.

Owns the sockets. What a container sends costs a bounded time: too many questions of one are dropped, most of
them by the kernel before they get here.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import KernelFailure
from wherryd.network.names.limits import Limits
from wherryd.network.names.zone import Zones
from wherryd.tasks import guarded, open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.registry import Registry
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import Network
    from wherryd.network.names.forward import Forwarder

SERVERS_MAX = 3
"""Name servers that a resolv.conf may have (resolv.conf(5), MAXNS)."""

_TRIES = 16
_SO_RCVBUFFORCE = 33
_FIRST, _PORTS = 49152, 16384
"""The dynamic ports (RFC 6335)."""

_WAITING = 4 << 20
"""Bytes of datagrams that wait at a socket, which the kernel doubles: what seven containers may send at once,
if all is as long as a packet can be (and counts for 2304), or twenty, if all are questions (768)."""

_CALLING = 1024
"""Connections that wait: what ten containers may make at once."""

_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""IP_FREEBIND, IPV6_FREEBIND: the bridge, and with it the address, may come later, or go and come again."""


class _Listening:
    """The sockets of one network, the same port on each."""

    def __init__(self, network: Network, port: int, sockets: tuple[socket.socket, ...]) -> None:
        self.network = network
        self.port = port
        self.sockets = sockets
        self.scope = trio.CancelScope()
        self.served = False

    def end(self) -> None:
        """Serve no more; the sockets are closed by who serves them, if somebody does."""
        self.scope.cancel()
        if not self.served:
            self.close()

    def close(self) -> None:
        """Close the sockets."""
        for sock in self.sockets:
            sock.close()


class Names:
    """Who is called what on which network: it follows from the registry's containers and their endpoints."""

    def __init__(self, registry: Registry, known: KnownNetworks) -> None:
        self._known = known
        self._zones = Zones(registry, known)
        self._limits = Limits()
        self._listening: dict[str, _Listening] = {}
        self._new, self._to_serve = trio.open_memory_channel[_Listening](float("inf"))
        self._forwarder: Forwarder | None = None

    def listen(self, network: Network) -> int:
        """Listen on a network; return the port, 0 where there are no names. Raises KernelFailure."""
        if network.predefined:
            return 0
        found = self._listening.get(network.id)
        if found is None:
            found = self._listening[network.id] = _open(network)
            self._new.send_nowait(found)
        return found.port

    def silence(self, network: Network) -> None:
        """Listen on a network no more."""
        found = self._listening.pop(network.id, None)
        if found is not None:
            found.end()

    def nameservers(self, endpoints: Sequence[Endpoint]) -> tuple[str, ...] | None:
        """Return what a container with these endpoints has in its resolv.conf; None: what the host has."""
        networks = (self._known.by_id(each.network_id) for each in endpoints)
        found = [str(each.ipv4.gateway) for each in networks if each is not None and not each.predefined]
        return tuple(found[:SERVERS_MAX]) or None

    async def run(self) -> None:
        """Answer questions, until cancelled."""
        try:
            async with open_nursery() as nursery:
                async for listening in self._to_serve:
                    start_soon(nursery, self._serve, listening)
        finally:
            for listening in self._listening.values():
                listening.end()

    async def _serve(self, listening: _Listening) -> None:
        # It brings the library for DNS, which costs time and memory.
        from wherryd.network.names.forward import Forwarder
        from wherryd.network.names.replies import Replies
        from wherryd.network.names.server import NameServer

        self._forwarder = self._forwarder or Forwarder()
        replies = Replies(listening.network, zones=self._zones, forwarder=self._forwarder)
        server = NameServer(replies, self._limits)
        listening.served = True
        try:
            with listening.scope:
                await guarded(f"names of {listening.network.name}", partial(server.serve, listening.sockets))
        finally:
            listening.close()


def _open(network: Network) -> _Listening:
    """Listen at a port that is free for UDP and TCP on each of a network's gateway addresses.

    The same one each time, if it can be had: the rules lead there still when a supervisor follows another.
    """
    found = _try_open(network, _FIRST + int(network.id[:4], 16) % _PORTS)
    for _ in range(_TRIES):
        if isinstance(found, _Listening):
            return found
        found = _try_open(network, 0)
    reason = found.strerror if isinstance(found, OSError) else "none is free"
    raise KernelFailure(f"network {network.name}: no port for its name server: {reason}")


def _try_open(network: Network, port: int) -> _Listening | OSError:
    try:
        return _open_at(network, port)
    except OSError as error:
        return error


def _open_at(network: Network, port: int) -> _Listening:
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        for each in network.ranges:
            family = socket.AF_INET if each.network.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = undo.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK))
                sock.setsockopt(*_FREEBIND[family], 1)
                if kind == socket.SOCK_DGRAM:
                    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WAITING)
                sock.bind((str(each.gateway), port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(_CALLING)
                port = sock.getsockname()[1]
                sockets.append(sock)
        undo.pop_all()
    return _Listening(network, port, tuple(sockets))
