"""UDP through the relay: each client has a socket towards the container, for as long as it speaks."""

from __future__ import annotations

import socket
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherryd.network.relay.loop import Loop

CLIENTS_MAX = 512
"""At one port; one more takes the place of whoever was silent the longest."""

_DATAGRAM_MAX = 65535
_ROUNDS = 64
_IPV6_PKTINFO, _IPV6_RECVPKTINFO = 50, 49
_ANCILLARY = 64


class Bound:
    """A bound socket, and a way to the container for each client; `target` is where that leads."""

    def __init__(self, sock: socket.socket, target: tuple[str, int], loop: Loop) -> None:
        self._sock = sock
        self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        self._target = target
        self._loop = loop
        self._ways: OrderedDict[Any, Way] = OrderedDict()

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch."""
        return (self._sock.fileno(),)

    def handle(self, events: int) -> None:
        """Pass datagrams on."""
        del events
        for _ in range(_ROUNDS):
            try:
                data, ancillary, _, client = self._sock.recvmsg(_DATAGRAM_MAX, _ANCILLARY)
            except OSError:
                return  # nothing more, or an error of an earlier answer: the next turn goes on
            way = self._ways.get(client) or self._new(client, ancillary)
            self._ways.move_to_end(client)
            way.send(data)

    def _new(self, client: Any, ancillary: list[Any]) -> Way:
        if len(self._ways) >= CLIENTS_MAX:
            _, oldest = self._ways.popitem(last=False)
            self._end(oldest)
        # What was the destination is the source of the answers, whatever addresses the host has beside it.
        own = [each for each in ancillary if each[1] == _IPV6_PKTINFO]
        way = self._ways[client] = Way(self._sock, client, own, self._target)
        self._loop.add(way)
        return way

    def _end(self, way: Way) -> None:
        self._loop.discard(way)
        way.close()

    def close(self) -> None:
        """End everything that came by it."""
        self._loop.discard(self)
        self._sock.close()
        for way in self._ways.values():
            self._end(way)


class Way:
    """One client's way to the container, and back through `sock`."""

    def __init__(self, sock: socket.socket, client: Any, own: list[Any], target: tuple[str, int]) -> None:
        self._back = sock
        self._client = client
        self._own = own
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._out = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._out.connect(target)

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch."""
        return (self._out.fileno(),)

    def send(self, data: bytes) -> None:
        """Send to the container, if it takes it: a datagram may be lost."""
        with suppress(OSError):
            self._out.send(data)

    def handle(self, events: int) -> None:
        """Send answers back."""
        del events
        for _ in range(_ROUNDS):
            try:
                data = self._out.recv(_DATAGRAM_MAX)
            except OSError:
                return  # nothing more, or nobody listens in the container
            with suppress(OSError):
                self._back.sendmsg([data], self._own, 0, self._client)

    def close(self) -> None:
        """Close its socket."""
        self._out.close()
