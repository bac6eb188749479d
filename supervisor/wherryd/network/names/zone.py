"""What containers may ask for by name: their neighbours on user networks. Follows from the registry; no IO.

A name is a container's own, its short id, one of its aliases, or any of these with the network's name behind
it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wherryd.containers.names import SHORT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.network.addresses import Address
    from wherryd.network.known import KnownNetworks
    from wherryd.network.model import Network

    Members = tuple[tuple[Container, str, tuple[Endpoint, ...]], ...]
    """Containers on networks, with their names and where they are."""

_ARPA = {".in-addr.arpa": 4, ".ip6.arpa": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Who asks: a container, and the user networks that it is on. `outside`: may ask for others' names."""

    container: Container
    networks: tuple[Network, ...]
    outside: bool


class Zone:
    """Who is called what, at one moment: made once, looked at until somebody comes or goes."""

    def __init__(self, members: Members, networks: Iterable[Network]) -> None:
        self._networks = {network.id: network for network in networks if not network.predefined}
        self._views: dict[tuple[str, str], View] = {}
        self._addresses: defaultdict[tuple[str, str], list[Address]] = defaultdict(list)
        self._names: dict[tuple[str, Address], str] = {}
        for container, name, endpoints in members:
            view = self._view(container, endpoints)
            for endpoint in endpoints:
                if endpoint.network_id in self._networks:
                    self._add(view, name, endpoint)

    def view_of(self, network: Network, source: str) -> View | None:
        """Return who has an address on a network, and what it may know; None when no container has it."""
        return self._views.get((network.id, source))

    def addresses_of(self, view: View, name: str) -> list[Address] | None:
        """Return the addresses that a name (lower case, no dot at its end) has; None when it is nobody's."""
        found = [
            address for network in view.networks for address in self._addresses.get((network.id, name), ())
        ]
        return found or None

    def name_of(self, view: View, address: Address) -> str | None:
        """Return the name that an address has, None when no neighbour has the address."""
        found = (self._names.get((network.id, address)) for network in view.networks)
        return next(filter(None, found), None)

    def _view(self, container: Container, endpoints: tuple[Endpoint, ...]) -> View:
        networks = (self._networks.get(each.network_id) for each in endpoints)
        return View(
            container=container,
            networks=tuple(each for each in networks if each is not None),
            outside=any(each.gateway for each in endpoints),
        )

    def _add(self, view: View, name: str, endpoint: Endpoint) -> None:
        network = self._networks[endpoint.network_id]
        addresses = [ip_address(text) for text in (endpoint.ip, endpoint.ip6) if text]
        for address in addresses:
            self._views[network.id, str(address)] = view
            self._names.setdefault((network.id, address), f"{name}.{network.name}")
        for called in _names(name, view.container.id, endpoint, network):
            self._addresses[network.id, called] += addresses


class Zones:
    """The zone of one supervisor, as it is now."""

    def __init__(self, registry: Registry, known: KnownNetworks) -> None:
        self._registry = registry
        self._known = known
        self._members: Members = ()
        self._zone = Zone((), ())

    def now(self) -> Zone:
        """Return the zone: the one of the last time, if nobody came, went, or is called otherwise."""
        members = tuple([(each, each.name, each.endpoints) for each in self._registry if each.endpoints])
        if members != self._members:
            self._members, self._zone = members, Zone(members, self._known)
        return self._zone


def is_ours(view: View, address: Address) -> bool:
    """Say whether an address is of the asker's networks: nobody else knows a name for it."""
    return any(address in each.network for network in view.networks for each in network.ranges)


def address_from_arpa(name: str) -> Address | None:
    """Return the address that a PTR question is about (RFC 1035 3.5, RFC 3596 2.5), None if it is none."""
    for suffix, version in _ARPA.items():
        if name.endswith(suffix):
            words = name.removesuffix(suffix).split(".")[::-1]
            text = ".".join(words) if version == 4 else _ipv6(words)  # noqa: PLR2004 - IPv4
            try:
                return ip_address(text)
            except ValueError:
                return None
    return None


def _ipv6(nibbles: list[str]) -> str:
    digits = "".join(nibbles)
    return ":".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _names(name: str, container_id: str, endpoint: Endpoint, network: Network) -> set[str]:
    short = {name, container_id[:SHORT_ID], *endpoint.aliases}
    return {each.lower() for word in short for each in (word, f"{word}.{network.name}")}
