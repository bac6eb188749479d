"""Network namespaces made ahead: on a bridge, with an address, ready for the next container.

A few wait for each network that was used lately. They are made while nothing waits for them; nothing is done
while nothing happens. What they have of a small network's addresses they give up when those run out.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import trio

from wherry_protocol.errors import WherryError
from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry_protocol.networks import Endpoint
    from wherryd.network.model import Network

READY = 3
"""How many wait: some start at once, and one takes the kernel three milliseconds."""

NETWORKS = 2
"""For how many networks."""


class Warm(NamedTuple):
    """A namespace (a descriptor, whoever has this closes it) and its only endpoint."""

    namespace: int
    endpoint: Endpoint


class Pool:
    """The namespaces of one supervisor. `make` makes one for a network, `drop` takes one's endpoint back."""

    def __init__(
        self, make: Callable[[Network], Awaitable[Warm]], drop: Callable[[Network, Endpoint], None]
    ) -> None:
        self._make = make
        self._drop = drop
        self._ready: dict[Network, deque[Warm]] = {}
        self._work = trio.Event()
        self._closed = False
        self._making: Network | None = None
        self._made = trio.lowlevel.ParkingLot()

    def take(self, network: Network) -> Warm | None:
        """Return one that is ready, None if there is none; more are made meanwhile."""
        self.warm(network)
        waiting = self._ready[network]
        return waiting.popleft() if waiting else None

    def warm(self, network: Network) -> None:
        """Have some made for a network; the one that was used the longest ago loses its own."""
        if self._closed:
            return
        waiting = self._ready.pop(network, None) or deque()
        self._ready[network] = waiting
        for other in [*self._ready][:-NETWORKS]:
            self.forget(other)
        self._work.set()

    def forget(self, network: Network) -> None:
        """Give up a network's."""
        waiting = self._ready.pop(network, deque())
        for warm in waiting:
            os.close(warm.namespace)
            self._drop(network, warm.endpoint)

    def has(self, link: str) -> Network | None:
        """Return the network of the namespace that a link leads to, if it waits here."""
        for network, waiting in self._ready.items():
            if any(warm.endpoint.link == link for warm in waiting):
                return network
        return None

    async def retire(self, network: Network) -> None:
        """Give up a network's, also the one that is being made."""
        self.forget(network)
        while self._making is network:
            await self._made.park()

    def close(self) -> None:
        """Give up all."""
        self._closed = True
        for network in [*self._ready]:
            self.forget(network)

    async def run(self) -> None:
        """Make what is missing, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while (network := self._lacking()) is not None:
                if not await self._add(network):
                    break

    async def _add(self, network: Network) -> bool:
        self._making = network
        try:
            self._put(network, await self._make(network))
        except WherryError as error:
            # A start makes its own and says what is wrong.
            journal.debug("no network namespace made ahead", network=network.name, error=error)
            return False
        finally:
            self._making = None
            self._made.unpark_all()
        return True

    def _lacking(self) -> Network | None:
        return next((n for n, waiting in reversed(self._ready.items()) if len(waiting) < READY), None)

    def _put(self, network: Network, warm: Warm) -> None:
        waiting = self._ready.get(network)
        if waiting is None:  # it was given up meanwhile
            os.close(warm.namespace)
            self._drop(network, warm.endpoint)
        else:
            waiting.append(warm)
