"""The networks of one supervisor: made, found, joined, left, removed. The entrance to this package.

Owns which networks there are and which addresses are given. What is given follows from the containers'
records, so nothing can leak: an address is taken as long as a container has it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, Conflict, WherryError
from wherry_protocol.networks import BRIDGE, PREDEFINED, EndpointSpec, Member
from wherryd import journal
from wherryd.kernel import failpoints
from wherryd.network import asking
from wherryd.network.bridges import Bridges
from wherryd.network.helper import Helper
from wherryd.network.joining import Attached, Joining, take_back
from wherryd.network.known import KnownNetworks
from wherryd.network.membership import Membership
from wherryd.network.model import LinkNames
from wherryd.network.modes import wanted
from wherryd.network.names.naming import Names
from wherryd.network.records import NetworkRecords
from wherryd.network.repair import Repair
from wherryd.network.rules.firewall import Firewall
from wherryd.tasks import guarded, open_nursery, start_soon

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from wherry_protocol.networks import CreateNetwork, Endpoint
    from wherry_protocol.run_spec import RunSpec
    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.network.model import Network

CLOSE_TIMEOUT = 5.0
"""Seconds to take down, at the supervisor's end, what no container uses."""


class Networks:
    """The networks of the supervisor called `instance`. `run` is its task.

    `default` is what a container gets that asks for none.
    `tell` hears (action, network's id, facts) of what happens; `keep` puts a container's changed request on
    record.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        registry: Registry,
        instance: str,
        *,
        default: str,
        tell: Callable[[str, str, Mapping[str, str]], None],
        keep: Callable[[Container, RunSpec], None],
    ) -> None:
        self.links = LinkNames.of(instance)
        self.helper = Helper()
        self.known = KnownNetworks(NetworkRecords(database))
        self.names = Names(registry, self.known)
        self.firewall = Firewall(self.helper, self.names, instance)
        self.bridges = Bridges(self.known, self.helper, self.firewall, self.links)
        self.joining = Joining(self.known, self.bridges, self.helper, self.firewall, self.links)
        self._membership = Membership(self.joining, self.helper, self.firewall, keep)
        self._repair = Repair(
            known=self.known, registry=registry, bridges=self.bridges, firewall=self.firewall,
            helper=self.helper, pool=self.joining.pool, tell=tell,
        )  # fmt: skip
        self._registry = registry
        self._default = default
        self._tell = tell

    # -- the supervisor's life ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        async with open_nursery() as nursery:
            start_soon(nursery, guarded, "network process", self.helper.run)
            start_soon(nursery, guarded, "network rules", self.firewall.run)
            start_soon(nursery, guarded, "network pool", self.joining.pool.run)
            start_soon(nursery, guarded, "names", self.names.run)
            start_soon(nursery, guarded, "network repair", self._repair.run)
            start_soon(nursery, guarded, "relay", self.firewall.relay.run)

    def recover(self) -> None:
        """Take the addresses that containers on record have. Once, before any container starts or ends."""
        for container in self._registry:
            for endpoint in container.endpoints:
                network = self.known.by_id(endpoint.network_id)
                if network is not None:
                    take_back(network, endpoint)

    def reclaim(self) -> None:
        """Have the ports of running containers, before anybody else can ask for them. After `recover`."""
        self.firewall.recover(self._used(), self._registry)

    def _used(self) -> list[Network]:
        used = {each.network_id for container in self._registry for each in container.endpoints}
        return [network for network in self.known if network.id in used]

    async def restore(self) -> None:
        """Have everything in the kernel that running containers need, and nothing of ended ones."""
        failpoints.hit("network.restore")
        for network in self._used():
            await self._restore(network)
        ends = {each.link for container in self._registry for each in container.endpoints}
        bridges = {network.bridge for network in self.known if network.up}
        strays = [
            name
            for _, name in socket.if_nameindex()
            if (name.startswith(self.links.ends) and name not in ends)
            or (name.startswith(self.links.bridges) and name not in bridges)
        ]
        if strays:
            journal.info("links of dead containers removed", links=" ".join(strays))
            for name in strays:  # one by one: each takes the kernel milliseconds
                await self.helper.call("remove_links", (name,))

    async def _restore(self, network: Network) -> None:
        try:
            await self.bridges.ensure(network, in_use=True)
        except WherryError as error:
            journal.error("network not restored", network=network.name, error=error)

    async def prepare(self) -> None:
        """Have the default network up, and namespaces on it ready, before somebody asks for one."""
        try:
            network = await self.bridges.default()
            await self.bridges.ensure(network)
        except WherryError as error:
            journal.error("the default network is not up", error=error)
            return
        self.joining.pool.warm(network)

    async def close(self) -> None:
        """Take down what no container uses; they are made again when somebody does."""
        self.joining.pool.close()
        with trio.move_on_after(CLOSE_TIMEOUT):
            # By their names: what a predecessor left may not have been looked at yet.
            there = {name for _, name in socket.if_nameindex()}
            idle = [each for each in self.known if each.bridge in there and not self._on(each)]
            for network in idle:
                await self._take_down(network)
            # Rules come before bridges: whoever had a network process may have the ones and not the others.
            # What is half made for the pool needs none: only containers do.
            if (idle or self.helper.pids) and not any(map(self._on, self.known)):
                await self._remove_rules()

    async def _remove_rules(self) -> None:
        try:
            await self.firewall.remove()
        except WherryError as error:
            journal.error("rules not removed", error=error)

    async def _take_down(self, network: Network) -> None:
        try:
            await self.bridges.take_down(network)
        except WherryError as error:
            journal.error("bridge not removed", network=network.name, error=error)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed of the host, and what of it is in the way, for a person."""
        return (*self.bridges.notes, *self.firewall.notes)

    def set_default(self, network: str) -> None:
        """Let containers have this one from now on that ask for none."""
        self._default = network

    def settle(self, spec: RunSpec) -> RunSpec:
        """Return a request with its networks by name. Raises BadRequest, NotFound, Conflict."""
        spec = asking.settle(spec, self._default, self.known)
        asking.check_addresses(spec, self.known)
        return spec

    # -- containers that start and end ----------------------------------------------------------------------

    def attach_nowait(self, container: Container) -> Attached | None:
        """Return what a start needs, if it is ready; None when `attach` has to make it."""
        attached = self.joining.attach_nowait(wanted(container.config.spec))
        if attached is not None:
            self._have(container, attached.endpoints)
        return attached

    async def attach(self, container: Container) -> Attached:
        """Return what a start needs: a namespace on the container's networks; the descriptor is the caller's.

        `detach` is to follow. Raises NotFound, BadRequest, Conflict, KernelFailure; then nothing is left.
        """
        specs = wanted(container.config.spec)
        if any(spec.network == BRIDGE for spec in specs):
            await self.bridges.default()
        attached = await self.joining.attach(specs)
        self._have(container, attached.endpoints)
        return attached

    def _have(self, container: Container, endpoints: tuple[Endpoint, ...]) -> None:
        container.endpoints = endpoints
        for endpoint in endpoints:
            self._say("connect", endpoint, container)

    def detach(self, container: Container) -> None:
        """A container's run is over, or did not come to be: its addresses and ports are free."""
        if not container.endpoints:
            return
        self.firewall.release(container)
        endpoints, container.endpoints = container.endpoints, ()
        for endpoint in endpoints:
            self._say("disconnect", endpoint, container)
            network = self.known.by_id(endpoint.network_id)
            if network is not None:
                self.joining.leave(network, endpoint)

    def _say(self, action: str, endpoint: Endpoint, container: Container) -> None:
        facts = {"name": endpoint.network, "type": "bridge", "container": container.id}
        self._tell(action, endpoint.network_id, facts)

    # -- networks -------------------------------------------------------------------------------------------

    async def find(self, reference: str) -> Network:
        """Return the network that a name, id or id prefix means. Raises NotFound, BadRequest, Conflict."""
        if reference == BRIDGE:
            return await self.bridges.default()
        if reference in PREDEFINED:
            raise BadRequest(f"network {reference} is predefined: it has no bridge")
        return self.known.find(reference)

    def members(self, network: Network) -> tuple[Member, ...]:
        """Return who is on a network now."""
        return tuple(
            Member(container_id=container.id, name=container.name, endpoint=endpoint)
            for container, endpoint in self._on(network)
        )

    def _on(self, network: Network) -> list[tuple[Container, Endpoint]]:
        return [
            (container, endpoint)
            for container in self._registry
            for endpoint in container.endpoints
            if endpoint.network_id == network.id
        ]

    async def create(self, call: CreateNetwork) -> Network:
        """Make a network. Raises BadRequest, Conflict, NoSpace, KernelFailure; then nothing is left."""
        network = await self.bridges.create(call)
        self._tell("create", network.id, {"name": network.name, "type": "bridge"})
        return network

    async def remove(self, network: Network) -> None:
        """Remove a network that nobody is on. Raises BadRequest, Conflict, NoSpace."""
        if network.predefined:
            raise BadRequest(f"network {network.name} is predefined: it cannot be removed")
        network.removing = True
        try:
            await self.joining.pool.retire(network)
            self._check_unused(network)
            self.known.discard(network)
        except BaseException:
            network.removing = False
            raise
        if network.up:
            await self._take_down(network)
        self._tell("destroy", network.id, {"name": network.name, "type": "bridge"})

    def pruned(self) -> None:
        """Networks that nobody was on have been removed, if there were any."""
        self._tell("prune", "", {"reclaimed": "0"})

    def _check_unused(self, network: Network) -> None:
        if not network.ipv4.unused:
            names = ", ".join(each.name for each in self.members(network)) or "one that is starting"
            raise Conflict(
                f"network {network.name} is used by container {names}",
                hint="stop it, or disconnect it with 'wherry network disconnect'",
            )

    async def connect(self, container: Container, asked: EndpointSpec) -> None:
        """Put a container on one more network, at once if it runs. Raises as `attach`."""
        asking.check_endpoint(asked)
        network = await self.find(asked.network)
        if container.alive and container.run is None:
            await container.started.wait()
        before = container.endpoints
        await self._membership.connect(container, network, asked)
        for endpoint in container.endpoints[len(before) :]:
            self._say("connect", endpoint, container)

    async def disconnect(self, container: Container, reference: str) -> None:
        """Take a container off a network. Raises NotFound, BadRequest, NoSpace, KernelFailure."""
        network = await self.find(reference)
        endpoint = next((each for each in container.endpoints if each.network_id == network.id), None)
        await self._membership.disconnect(container, network)
        if endpoint is not None:
            self._say("disconnect", endpoint, container)
