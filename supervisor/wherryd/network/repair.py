"""Puts right what somebody changed by hand: rules, bridges, links of running containers, forwarding.

Owns when that is done and that it is told: an event "network repair" and a line of the log for each. What is
right follows from the firewall and the registry; nothing is remembered here.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import WherryError
from wherryd import journal
from wherryd.network import model
from wherryd.network.watch import Watch
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.network.bridges import Bridges
    from wherryd.network.helper import Helper
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import Network
    from wherryd.network.pool import Pool
    from wherryd.network.rules.firewall import Firewall

PATIENCE = 0.2
"""Seconds between something seen and its repair: who flushes rules does more than that, and the link of an
ended container goes a moment before its end is known."""


class Repair:
    """The repairs of one supervisor. `run` is its task; `tell` hears of each: (action, what, facts)."""

    def __init__(
        self,
        *,
        known: KnownNetworks,
        registry: Registry,
        bridges: Bridges,
        firewall: Firewall,
        helper: Helper,
        pool: Pool,
        tell: Callable[[str, str, Mapping[str, str]], None],
    ) -> None:
        self._known = known
        self._registry = registry
        self._bridges = bridges
        self._firewall = firewall
        self._helper = helper
        self._pool = pool
        self._tell = tell
        self._watch = Watch(firewall.table, self._cares, lambda: helper.pids)

    async def run(self) -> None:
        """Watch and repair, until cancelled."""
        async with open_nursery() as nursery:
            start_soon(nursery, self._watch.run)
            while True:
                seen = await self._watch.next()
                await trio.sleep(PATIENCE)
                if seen.rules or seen.unknown:
                    await self._repair_rules()
                if seen.forwarding or seen.unknown:
                    await self._repair_forwarding()
                if seen.links or seen.unknown:
                    await self._repair_links(seen.links, everything=seen.unknown)

    def _cares(self, name: str) -> bool:
        return (
            any(name == network.bridge for network in self._up())
            or any(name == endpoint.link for _, endpoint in self._endpoints())
            or self._pool.has(name) is not None
        )

    def _up(self) -> Iterator[Network]:
        return (network for network in self._known if network.up and not network.removing)

    def _endpoints(self) -> Iterator[tuple[Container, Endpoint]]:
        return (
            (container, endpoint)
            for container in self._registry
            if container.run is not None
            for endpoint in container.endpoints
        )

    async def _repair_rules(self) -> None:
        try:
            await self._firewall.replace()
        except WherryError as error:
            journal.error("rules not repaired", table=self._firewall.table, error=error)
            return
        journal.warning("rules were changed by somebody, and are repaired", table=self._firewall.table)
        self._tell("repair", self._firewall.table, {"what": "rules", "name": self._firewall.table})

    async def _repair_forwarding(self) -> None:
        try:
            changed = await self._bridges.forward_again()
        except WherryError as error:
            journal.error("forwarding not repaired", error=error)
            return
        for name in changed:
            journal.warning("forwarding was turned off by somebody, and is repaired", setting=name, value=1)
            self._tell("repair", name, {"what": "forwarding", "name": name})

    async def _repair_links(self, touched: set[str], *, everything: bool) -> None:
        there = _links()
        for network in [*self._up()]:
            if everything or network.bridge in touched or network.bridge not in there:
                await self._repair_bridge(network)
        there = _links()
        for container, endpoint in [*self._endpoints()]:
            if endpoint.link not in there:
                await self._repair_end(container, endpoint)
            elif everything or endpoint.link in touched:
                await self._put_back(container, endpoint)
        self._renew_pool(touched)

    def _renew_pool(self, touched: set[str]) -> None:
        """Give up what waits for containers at links that somebody touched: others are made."""
        for network in {self._pool.has(name) for name in touched} - {None}:
            assert network is not None  # noqa: S101 - one line above
            self._pool.forget(network)
            self._pool.warm(network)

    async def _put_back(self, container: Container, endpoint: Endpoint) -> None:
        """Have a running container's link on its bridge and up, if it is not."""
        network = self._known.by_id(endpoint.network_id)
        if network is None:
            return
        try:
            astray = (await self._helper.call("enslave", network.bridge, (endpoint.link,))).value
        except WherryError as error:
            if container.run is not None:
                journal.error("link not repaired", id=container.id, link=endpoint.link, error=error)
            return
        if astray:
            self._tell_link(container, endpoint, "was taken off its bridge or set down")

    async def _repair_bridge(self, network: Network) -> None:
        """Make a bridge again, or its address; the links that were on it are put back."""
        try:
            await self._bridges.again(network)
            there = _links()
            ends = [each.link for _, each in self._endpoints() if each.network_id == network.id]
            await self._helper.call("enslave", network.bridge, [each for each in ends if each in there])
        except WherryError as error:
            journal.error("bridge not repaired", network=network.name, bridge=network.bridge, error=error)
            return
        self._pool.forget(network)
        self._pool.warm(network)
        journal.warning("bridge was changed by somebody, and is repaired", bridge=network.bridge)
        self._tell("repair", network.id, {"what": "bridge", "name": network.name, "link": network.bridge})

    async def _repair_end(self, container: Container, endpoint: Endpoint) -> None:
        """Lay a running container's cable again: the same addresses, the same name."""
        network = self._known.by_id(endpoint.network_id)
        run = container.run
        if network is None or run is None:
            return
        try:
            end = model.end_of(network, endpoint, self._bridges.mtu)
            await self._helper.call("join", end, fds=[run.pidfd])
        except WherryError as error:
            if container.run is not None:
                journal.error("link not repaired", id=container.id, link=endpoint.link, error=error)
            return
        self._tell_link(container, endpoint, "was removed")

    def _tell_link(self, container: Container, endpoint: Endpoint, how: str) -> None:
        journal.warning(f"link {how} by somebody, and is repaired", id=container.id, link=endpoint.link)
        facts = {"what": "link", "name": endpoint.network, "link": endpoint.link, "container": container.id}
        self._tell("repair", endpoint.network_id, facts)


def _links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}
