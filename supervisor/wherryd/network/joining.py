"""How a container comes onto its networks, and off them: addresses, namespace, links, rules, in that order.

Owns the addresses from the moment they are chosen: whatever fails, they are free again.
"""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from wherry_protocol.errors import Conflict, NotFound
from wherry_protocol.networks import Endpoint, EndpointSpec
from wherryd.kernel import failpoints
from wherryd.network import addresses, model
from wherryd.network.pool import Pool, Warm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherryd.network.bridges import Bridges
    from wherryd.network.helper import Helper
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import LinkNames, Network
    from wherryd.network.rules.firewall import Firewall


ROOM = 16
"""Free addresses that a network has to have for namespaces to be kept ready on it."""


class Attached(NamedTuple):
    """A network namespace for a container that is about to start; the descriptor is the caller's."""

    namespace: int
    endpoints: tuple[Endpoint, ...]


class Joining:
    """Puts containers on networks. `pool` has namespaces for those that ask for nothing special."""

    def __init__(
        self, known: KnownNetworks, bridges: Bridges, helper: Helper, firewall: Firewall, names: LinkNames
    ) -> None:
        self._known = known
        self._bridges = bridges
        self._helper = helper
        self._firewall = firewall
        self._names = names
        self.pool = Pool(self._make_warm, self.leave)

    def attach_nowait(self, wanted: Sequence[EndpointSpec]) -> Attached | None:
        """Return a namespace that is ready; None when one has to be made first."""
        if len(wanted) != 1 or not _plain(wanted[0]):
            return None
        network = self._known.get(wanted[0].network)
        if network is None or not network.up:
            return None
        warm = self.pool.take(network)
        if warm is None:
            return None
        return Attached(warm.namespace, (warm.endpoint.replace(aliases=wanted[0].aliases),))

    async def attach(self, wanted: Sequence[EndpointSpec]) -> Attached:
        """Return a namespace on all the networks that are wanted, the first of which is the primary one.

        Raises NotFound, BadRequest, Conflict, KernelFailure; then nothing is left.
        """
        with ExitStack() as undo:
            chosen: list[tuple[Network, Endpoint]] = []
            for number, spec in enumerate(wanted):
                network = await self._up(spec)
                endpoint = self._choose(network, spec, f"eth{number}", primary=not number)
                undo.callback(self.leave, network, endpoint)
                chosen.append((network, endpoint))
            namespace = await self._make(chosen)
            undo.pop_all()
            return Attached(namespace, tuple(endpoint for _, endpoint in chosen))

    async def join(self, spec: EndpointSpec, interface: str, pidfd: int, *, primary: bool) -> Endpoint:
        """Put a running container on one more network. Raises as `attach`."""
        network = await self._up(spec)
        endpoint = self._choose(network, spec, interface, primary=primary)
        with ExitStack() as undo:
            undo.callback(self.leave, network, endpoint)
            try:
                end = model.end_of(network, endpoint, self._bridges.mtu)
                await self._helper.call("join", end, fds=[pidfd])
                await self._firewall.admit(network, endpoint)
            except BaseException:
                self._helper.tell("remove_links", (endpoint.link,))
                raise
            undo.pop_all()
        return endpoint

    def leave(self, network: Network, endpoint: Endpoint) -> None:
        """Give an endpoint's addresses back. Its link goes with its namespace."""
        self._firewall.dismiss(network, endpoint)
        give_back(network, endpoint)
        failpoints.hit("network.left")

    async def _up(self, spec: EndpointSpec) -> Network:
        network = self._known.find(spec.network)
        await self._bridges.ensure(network)
        if any(each.full for each in network.ranges):
            await self.pool.retire(network)
        if network.removing:
            raise NotFound(f"network {network.name} is being removed")
        return network

    def _choose(self, network: Network, spec: EndpointSpec, interface: str, *, primary: bool) -> Endpoint:
        ip = self._address(network, network.ipv4, spec.ip)
        ip6 = None
        if network.ipv6 is not None:
            try:
                ip6 = self._address(network, network.ipv6, spec.ip6)
            except BaseException:
                network.ipv4.give_back(ip)
                raise
        endpoint_id = model.new_id()
        outside = not network.internal
        return Endpoint(
            id=endpoint_id,
            network_id=network.id,
            network=network.name,
            interface=interface,
            link=self._names.end(endpoint_id),
            mac_address=spec.mac_address or model.mac_of(ip),
            ip=str(ip),
            prefix=network.ipv4.prefix,
            gateway=str(network.ipv4.gateway) if outside else None,
            ip6=str(ip6) if ip6 else None,
            prefix6=network.ipv6.prefix if network.ipv6 else 0,
            gateway6=str(network.ipv6.gateway) if network.ipv6 and outside else None,
            aliases=spec.aliases,
            primary=primary,
        )

    def _address(self, network: Network, within: addresses.Range, wanted: str | None) -> addresses.Address:
        if wanted is not None:
            address = addresses.parse_address(wanted, "address")
            if within.is_taken(address):
                self.pool.forget(network)  # it may be one that is only kept ready
            return within.take_this(address, network.name)
        return within.take(network.name)

    async def _make(self, chosen: Sequence[tuple[Network, Endpoint]]) -> int:
        """Make a namespace with these endpoints and let their packets pass."""
        ends = [model.end_of(network, endpoint, self._bridges.mtu) for network, endpoint in chosen]
        failpoints.hit("network.address")
        answer = await self._helper.call("make_namespace", ends)
        failpoints.hit("network.namespace")
        try:
            for network, endpoint in chosen:
                await self._firewall.admit(network, endpoint)
        except BaseException:
            answer.close()
            raise
        failpoints.hit("network.admitted")
        return answer.fds[0]

    async def _make_warm(self, network: Network) -> Warm:
        if any(each.free < ROOM for each in network.ranges):
            raise Conflict(f"network {network.name} has few addresses left")
        await self._bridges.ensure(network)
        endpoint = self._choose(network, EndpointSpec(network=network.name), "eth0", primary=True)
        try:
            return Warm(await self._make([(network, endpoint)]), endpoint)
        except BaseException:
            self.leave(network, endpoint)
            raise


def _plain(spec: EndpointSpec) -> bool:
    return spec.ip is None and spec.ip6 is None and spec.mac_address is None


def give_back(network: Network, endpoint: Endpoint) -> None:
    """Have an endpoint's addresses free again."""
    network.ipv4.give_back(ip_address(endpoint.ip))
    if endpoint.ip6 is not None and network.ipv6 is not None:
        network.ipv6.give_back(ip_address(endpoint.ip6))


def take_back(network: Network, endpoint: Endpoint) -> None:
    """Have the addresses of an endpoint that is on record taken. Raises Conflict, BadRequest."""
    network.ipv4.take_this(ip_address(endpoint.ip), network.name)
    if endpoint.ip6 is not None and network.ipv6 is not None:
        network.ipv6.take_this(ip_address(endpoint.ip6), network.name)
