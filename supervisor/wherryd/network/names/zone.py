"""What one container may ask for by name: its neighbours on user networks. Follows from the registry; pure.

A name is a container's own, its short id, one of its aliases, or any of these with the network's name behind
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wherryd.containers.names import SHORT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.container import Container
    from wherryd.network.addresses import Address
    from wherryd.network.model import Network

_ARPA = {".in-addr.arpa": 4, ".ip6.arpa": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Who asks: a container, and the user networks that it is on. `outside`: may ask for others' names."""

    container: Container
    networks: tuple[Network, ...]
    outside: bool


def view_of(
    containers: Iterable[Container], networks: Iterable[Network], network: Network, source: str
) -> View | None:
    """Return who has an address on a network, and what it may know; None when no container has it."""
    for container in containers:
        if not any(_has(each, network, source) for each in container.endpoints):
            continue
        on = {each.network_id for each in container.endpoints}
        return View(
            container=container,
            networks=tuple(each for each in networks if each.id in on and not each.predefined),
            outside=any(each.gateway for each in container.endpoints),
        )
    return None


def addresses_of(containers: Iterable[Container], view: View, name: str) -> list[Address] | None:
    """Return the addresses that a name (lower case, no dot at its end) has; None when it is nobody's."""
    found = [
        ip_address(text)
        for container, network, endpoint in _members(containers, view)
        if name in _names(container, network, endpoint)
        for text in (endpoint.ip, endpoint.ip6)
        if text
    ]
    return found or None


def name_of(containers: Iterable[Container], view: View, address: Address) -> str | None:
    """Return the name that an address has, None when no neighbour has the address."""
    for container, network, endpoint in _members(containers, view):
        if str(address) in (endpoint.ip, endpoint.ip6):
            return f"{container.name}.{network.name}"
    return None


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


def _members(containers: Iterable[Container], view: View) -> Iterator[tuple[Container, Network, Endpoint]]:
    networks = {network.id: network for network in view.networks}
    for container in containers:
        for endpoint in container.endpoints:
            network = networks.get(endpoint.network_id)
            if network is not None:
                yield container, network, endpoint


def _names(container: Container, network: Network, endpoint: Endpoint) -> set[str]:
    short = {container.name, container.id[:SHORT_ID], *endpoint.aliases}
    return {name.lower() for word in short for name in (word, f"{word}.{network.name}")}


def _has(endpoint: Endpoint, network: Network, source: str) -> bool:
    return endpoint.network_id == network.id and source in (endpoint.ip, endpoint.ip6)
