"""What packets may pass: the seam between the networks' links and the rules for them.

Owns what the rules have to say, and with it the truth: whatever is found in the kernel, `replace` makes it
so. Whoever makes a network or an endpoint calls this; every call is done before the next thing happens. What
ends is taken out of the rules a moment later, many at once, and before anything new comes in.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import KernelFailure
from wherryd import journal
from wherryd.kernel import failpoints
from wherryd.network.relay.handle import Relay
from wherryd.network.rules import ports, ruleset
from wherryd.network.rules.holders import holder
from wherryd.network.rules.reservations import PortTaken, Reservations
from wherryd.network.rules.ruleset import Bridge, Forward, Guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.container import Container
    from wherryd.network.helper import Helper
    from wherryd.network.model import Network
    from wherryd.network.names.naming import Names
    from wherryd.network.questions import Asked
    from wherryd.network.rules.ruleset import Elements

HOLDER_TIMEOUT = 2.0
"""Seconds to look for the process that has a port: an error waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Ports on their way into the rules."""

    elements: Elements
    asked: Asked | None


class Firewall:
    """The rules of one supervisor. `run` is its task; `table` is the name of its tables."""

    def __init__(self, helper: Helper, names: Names, instance: str) -> None:
        self._helper = helper
        self._names = names
        self.table = instance
        self._made = False
        self._over = False
        """Whether the rules are taken away for good: what was under way must not make them anew."""
        self._bridges: dict[str, Bridge] = {}
        self._guards: dict[str, Guard] = {}
        self._forwards: dict[str, tuple[Forward, ...]] = {}
        self._withdrawn: Elements = {}
        self._turned: set[int] = set()
        """Ports of UDP that lead elsewhere with the next change of the rules."""
        self._work = trio.Event()
        self.notes: tuple[str, ...] = ()
        """What of others' rules is in the way, for a person."""
        self.reservations = Reservations()
        self.relay = Relay()

    # -- networks and endpoints

    async def network_up(self, network: Network) -> None:
        """A network's bridge was made or found. Raises KernelFailure: then the network is not up."""
        bridge = bridge_of(network, self._names.listen(network))
        known = self._bridges.get(bridge.link)
        self._bridges[bridge.link] = bridge
        try:
            if known is None and network.icc and not network.internal:
                await self._add(ruleset.elements_of(bridges=[bridge]))
            else:
                await self.replace()
            if not network.internal:
                await self._helper.call("let_loopback_out", network.bridge)
        except BaseException:
            self._bridges.pop(bridge.link, None)
            raise

    async def network_down(self, network: Network) -> None:
        """A network's bridge is about to be removed."""
        self._names.silence(network)
        bridge = self._bridges.pop(network.bridge, None)
        if bridge is not None:
            self._withdraw(ruleset.elements_of(bridges=[bridge]))

    async def admit(self, network: Network, endpoint: Endpoint) -> None:
        """An endpoint was made; nobody uses it yet. Raises KernelFailure: then it is taken away again.

        It may be of the pool: whose container it will be is not known, and its aliases are not.
        """
        guard = self._guards[endpoint.link] = guard_of(network, endpoint)
        try:
            await self._add(ruleset.elements_of(guards=[guard]))
        except BaseException:
            self._guards.pop(endpoint.link, None)
            raise

    def dismiss(self, network: Network, endpoint: Endpoint) -> None:
        """An endpoint's container ended, or is off the network: its address may be another's at once."""
        del network
        guard = self._guards.pop(endpoint.link, None)
        if guard is not None:
            self._withdraw(ruleset.elements_of(guards=[guard]))

    # -- published ports

    def reserve(self, container: Container) -> None:
        """A container with endpoints is about to start: take the ports that it publishes, in this very step.

        Raises Conflict, BadRequest. `release` follows, whatever happens then.
        """
        wanted = ports.wanted(container.config)
        if wanted:
            container.ports = self.reservations.take(container.id, container.name, wanted)

    def publish_nowait(self, container: Container) -> Publishing | None:
        """Begin to have the reserved ports reachable at its endpoints; `published` is to follow."""
        endpoint = ports.way_in(container.endpoints)
        if not container.ports or endpoint is None:
            return None
        forwards = ports.forwards(container.ports, endpoint)
        self._forwards[container.id] = forwards
        self._relay(container, endpoint)
        self._turned.update(_udp_ports(forwards))
        elements = ruleset.elements_of(forwards=forwards)
        asked = self._change(elements) if self._made else None
        failpoints.hit("network.published")
        return Publishing(elements=elements, asked=asked)

    async def published(self, publishing: Publishing | None) -> None:
        """Wait until the ports are reachable; done before the start is answered. Raises KernelFailure."""
        if publishing is not None:
            await self._settle(publishing.asked)

    def release(self, container: Container) -> None:
        """A container's run is over, or never came to be: its ports are free, and nothing leads there."""
        self.relay.drop(container.id)
        forwards = self._forwards.pop(container.id, ())
        if forwards:
            self._turned.update(_udp_ports(forwards))
            self._withdraw(ruleset.elements_of(forwards=forwards))
        self.reservations.give_back(container.id)
        container.ports = ()

    @staticmethod
    async def explained(error: Exception) -> Exception:
        """Return an error with the process that has the port, if it is about a port and that can be known."""
        if not isinstance(error, PortTaken) or error.holder is not None or not error.binding.host_port:
            return error
        binding, port = error.binding, error.binding.host_port
        with trio.move_on_after(HOLDER_TIMEOUT):
            found = await trio.to_thread.run_sync(
                partial(holder, binding.protocol, port), abandon_on_cancel=True
            )
            if found is not None:
                error.message += f" by {found}"
        return error

    # -- the rules

    def recover(self, bridges: Iterable[Network], containers: Iterable[Container]) -> None:
        """Know again, after a restart, what running containers have. `replace` is to follow."""
        networks = {network.id: network for network in bridges}
        self._bridges.update(
            (network.bridge, bridge_of(network, self._names.listen(network))) for network in networks.values()
        )
        for container in containers:
            for endpoint in container.endpoints:
                network = networks.get(endpoint.network_id)
                if network is not None:
                    self._guards[endpoint.link] = guard_of(network, endpoint)
            self._take_back_ports(container)

    async def replace(self) -> None:
        """Have in the kernel exactly what has to be there, in one transaction. Raises KernelFailure."""
        if self._over:
            return
        self._withdrawn = {}
        self._made = True
        asked = self._helper.ask("nft", ruleset.whole(self.table, self._everything()))
        for forwards in self._forwards.values():
            self._turned.update(_udp_ports(forwards))
        self._forget_flows()
        try:
            await self._helper.answer(asked)
            self.notes = _notes((await self._helper.call("foreign_drops", self.table)).value)
        except BaseException:
            self._made = False
            raise

    async def remove(self) -> None:
        """Take our tables away, for good. Raises KernelFailure."""
        self._made, self._over = False, True
        await self._helper.call("nft", ruleset.removing(self.table))

    async def run(self) -> None:
        """Take out of the rules what is over, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            if not self._withdrawn or not self._made:
                continue
            try:
                await self._settle(self._change({}))
            except KernelFailure as error:
                journal.error("rules not changed", error=error)

    def _take_back_ports(self, container: Container) -> None:
        endpoint = ports.way_in(container.endpoints)
        if not container.ports or endpoint is None:
            return
        for lost in self.reservations.take_back(container.id, container.name, container.ports):
            journal.error(
                "somebody took a published port", id=container.id, name=container.name, port=lost.host_port
            )
        self._forwards[container.id] = ports.forwards(container.ports, endpoint)
        self._relay(container, endpoint)

    def _relay(self, container: Container, endpoint: Endpoint) -> None:
        """Serve what comes by IPv6 and is not passed on by the rules: all of it, or what comes to ::1."""
        for kept in self.reservations.of(container.id):
            if kept.socket.family == socket.AF_INET6:
                target = (endpoint.ip6 or endpoint.ip, kept.binding.container_port)
                self.relay.serve(container.id, kept.socket, kept.binding.protocol, target)

    def _everything(self) -> Elements:
        forwards = [each for several in self._forwards.values() for each in several]
        return ruleset.elements_of(self._bridges.values(), self._guards.values(), forwards)

    async def _add(self, elements: Elements) -> None:
        if self._made:
            await self._settle(self._change(elements))
        else:
            await self.replace()

    def _change(self, elements: Elements) -> Asked:
        """Have elements added, and what is over deleted, in one transaction."""
        withdrawn, self._withdrawn = self._withdrawn, {}
        script = ruleset.deleting(self.table, withdrawn) + ruleset.adding(self.table, elements)
        asked = self._helper.ask("nft", script)
        self._forget_flows()
        return asked

    def _forget_flows(self) -> None:
        """Have the kernel forget what it remembers of UDP at ports that lead elsewhere now."""
        if self._turned:
            turned, self._turned = self._turned, set()
            self._helper.tell("forget_flows", [*turned])

    async def _settle(self, asked: Asked | None) -> None:
        """Wait for a change; when the rules are not what it takes them for, make them anew."""
        if asked is not None:
            try:
                await self._helper.answer(asked)
            except KernelFailure as error:
                journal.warning("rules were not as they were left, making them anew", error=error)
            else:
                return
        await self.replace()

    def _withdraw(self, elements: Elements) -> None:
        for name, found in elements.items():
            self._withdrawn.setdefault(name, []).extend(found)
        self._work.set()


def _notes(drops: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        f"nftables chain {chain} drops forwarded packets: containers are cut off unless it lets them pass"
        for chain in drops
    )


def _udp_ports(forwards: Iterable[Forward]) -> Iterator[int]:
    return (each.host_port for each in forwards if each.protocol == "udp")


def bridge_of(network: Network, names: int) -> Bridge:
    """Return what the rules need to know of a network; `names` is where its name server listens."""
    return Bridge(
        link=network.bridge,
        gateways=tuple(f"{each.gateway}/{each.prefix}" for each in network.ranges),
        internal=network.internal,
        icc=network.icc,
        names=names,
    )


def guard_of(network: Network, endpoint: Endpoint) -> Guard:
    """Return what the rules need to know of an endpoint."""
    addresses = (endpoint.ip, endpoint.ip6) if endpoint.ip6 else (endpoint.ip,)
    return Guard(link=endpoint.link, mac=endpoint.mac_address, addresses=addresses, icc=network.icc)
