"""The bridges of networks: made when they are first needed, made again after a reboot, taken down.

Owns what is up. Nothing is made before it is needed, but for what a running container has already.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, WherryError
from wherry_protocol.networks import BRIDGE
from wherryd import journal
from wherryd.network import addresses, creating
from wherryd.network.addresses import Range

if TYPE_CHECKING:
    from wherry_protocol.networks import CreateNetwork
    from wherryd.network.helper import Helper
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import LinkNames, Network
    from wherryd.network.rules.firewall import Firewall

DEFAULT_MTU = 1500
_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class Bridges:
    """The bridges of one supervisor. `mtu` is what its links have: the host's uplink has no more."""

    def __init__(self, known: KnownNetworks, helper: Helper, firewall: Firewall, names: LinkNames) -> None:
        self._known = known
        self._helper = helper
        self._firewall = firewall
        self._names = names
        self._lock = trio.Lock()
        self._forwarding: set[int] = set()
        self.mtu = DEFAULT_MTU
        self.notes: list[str] = []
        """What was changed of the host, for a person."""

    async def default(self) -> Network:
        """Return the network "bridge", which is put on record the first time. Raises Conflict, NoSpace."""
        network = self._known.get(BRIDGE)
        if network is not None:
            return network
        async with self._lock:
            network = self._known.get(BRIDGE)
            if network is None:
                network = await self._new_default()
                self._known.add(network)
            return network

    async def create(self, call: CreateNetwork) -> Network:
        """Put a new network on record and have its bridge up.

        Raises BadRequest, Conflict, NoSpace, KernelFailure.
        """
        creating.check(call)
        async with self._lock:
            own = creating.ranges(call, await self.taken())
            network = creating.network_from(call, own, self._names)
            self._known.add(network)
            try:
                await self._raise(network)
            except BaseException:
                self._known.discard(network)
                self._helper.tell("remove_links", (network.bridge,))
                raise
        return network

    async def ensure(self, network: Network, *, in_use: bool = False) -> None:
        """Have a network's bridge up. Raises Conflict when the host uses its subnet, KernelFailure.

        `in_use`: containers have its addresses, so that it cannot be otherwise.
        """
        if network.up:
            return
        async with self._lock:
            if not network.up:
                if not in_use:
                    await self._check_free(network)
                await self._raise(network)

    async def again(self, network: Network) -> None:
        """Have a network's bridge as it should be, whatever somebody did to it. Raises KernelFailure."""
        async with self._lock:
            if network.up:
                await self._raise(network)

    async def forward_again(self) -> list[str]:
        """Have the host forward packets again, if somebody ended that; return the settings that were changed.

        Raises KernelFailure.
        """
        return [
            _FORWARDING[version]
            for version in [*self._forwarding]
            if (await self._helper.call("enable_forwarding", version)).value
        ]

    async def take_down(self, network: Network) -> None:
        """Remove a network's bridge. Raises KernelFailure."""
        async with self._lock:
            network.up = False
            try:
                await self._firewall.network_down(network)
            except WherryError as error:
                journal.error("rules not removed", network=network.name, error=error)
            await self._helper.call("remove_links", (network.bridge,))

    async def taken(self, but: str = "") -> list[addresses.Network]:
        """Return every range that the host or a network of ours uses, but what the link `but` has."""
        found = (await self._helper.call("list_ranges")).value
        ranges = [ip_network(cidr, strict=False) for cidr, link in found if link != but]
        return ranges + [
            each.network for network in self._known if network.bridge != but for each in network.ranges
        ]

    async def _new_default(self) -> Network:
        start = 0 if self._names.default == "wherry0" else int(self._names.default[-8:], 16)
        chosen = addresses.free_default(await self.taken(), start)
        return creating.new_network(BRIDGE, self._names.default, (Range(chosen),))

    async def _raise(self, network: Network) -> None:
        self.mtu = min((await self._helper.call("uplink_mtu")).value or DEFAULT_MTU, DEFAULT_MTU)
        for each in network.ranges:
            await self._enable_forwarding(each.network.version)
        own = [(str(each.gateway), each.prefix) for each in network.ranges]
        await self._helper.call("make_bridge", network.bridge, network.mac, own, self.mtu)
        try:
            await self._firewall.network_up(network)
        except BaseException:
            self._helper.tell("remove_links", (network.bridge,))
            raise
        network.up = True
        journal.info("network up", network=network.name, bridge=network.bridge, subnet=network.ipv4.network)

    async def _check_free(self, network: Network) -> None:
        """Refuse a subnet that the host has come to use; the default network takes another one then."""
        taken = await self.taken(network.bridge)
        for each in network.ranges:
            other = addresses.overlap(each.network, [found for found in taken if found.prefixlen])
            if other is None:
                continue
            if network.predefined and network.ipv4.unused:
                network.ranges = (Range(addresses.free_default(taken, 0)),)
                self._known.save(network)
                return
            raise Conflict(
                f"network {network.name}: its subnet {each.network} is used by the host ({other})",
                hint="remove that route or address, or the network",
            )

    async def _enable_forwarding(self, version: int) -> None:
        if version in self._forwarding:
            return
        if (await self._helper.call("enable_forwarding", version)).value:
            name = _FORWARDING[version]
            journal.warning("host setting changed", setting=name, value=1)
            self.notes.append(f"{name} was set to 1: containers need the host to forward packets")
        self._forwarding.add(version)
