"""From a request for a network to the network: checks and defaults, before anything is made. Pure."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, Unsupported
from wherry_protocol.networks import DEFAULT, DRIVER, PREDEFINED
from wherryd.containers.names import NAME
from wherryd.network import addresses, model
from wherryd.network.addresses import Range
from wherryd.network.model import Network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol.networks import CreateNetwork
    from wherryd.network.model import LinkNames

_VERSIONS = (4, 6)


def check(call: CreateNetwork) -> None:
    """Refuse what can be refused without a look at the host. Raises BadRequest naming the value."""
    if NAME.fullmatch(call.name) is None:
        raise BadRequest(
            f"network name {call.name[:130]!r} is not allowed",
            hint="a letter or digit, then letters, digits, '_', '.' or '-', at most 128 in all",
        )
    if call.name in (*PREDEFINED, DEFAULT):
        raise BadRequest(f"network name {call.name} has a meaning of its own", hint="choose another one")
    if call.driver != DRIVER:
        raise Unsupported(f"network driver {call.driver[:40]!r} is unknown", hint=f"there is one: {DRIVER}")
    for key, value in call.labels.items():
        if not key or "\0" in key + value:
            raise BadRequest("label: the key is empty, or has a NUL byte", hint="write KEY or KEY=value")
    asked_ranges(call)


def asked_ranges(call: CreateNetwork) -> dict[int, Range]:
    """Return the ranges that are asked for, by version of IP. Raises BadRequest."""
    found: dict[int, Range] = {}
    gateways = [addresses.parse_address(text, "gateway") for text in call.gateways]
    for text in call.subnets:
        network = addresses.parse_subnet(text)
        if network.version in found:
            raise BadRequest(f"subnet {text}: a network has one subnet of IPv{network.version}")
        own = [each for each in gateways if each in network]
        if len(own) > 1:
            raise BadRequest(f"gateways {own[0]} and {own[1]} are of one subnet, which has one")
        gateways = [each for each in gateways if each not in own]
        found[network.version] = _range(network, own[0] if own else None)
    if gateways:
        raise BadRequest(
            f"gateway {gateways[0]} is in no subnet of the network", hint="say which one with --subnet"
        )
    return found


def _range(network: addresses.Network, gateway: addresses.Address | None) -> Range:
    if gateway is not None:
        Range(network).check(gateway, "its subnet")
    return Range(network, gateway)


def ranges(call: CreateNetwork, taken: Sequence[addresses.Network]) -> tuple[Range, ...]:
    """Return the ranges of a new network, when `taken` are in use. Raises BadRequest, Conflict."""
    found = asked_ranges(call)
    for each in found.values():
        other = addresses.overlap(each.network, taken)
        if other is not None:
            raise Conflict(
                f"subnet {each.network} overlaps {other}, which is in use",
                hint="see 'wherry network ls', 'ip route'",
            )
    if 4 not in found:  # noqa: PLR2004 - a version of IP
        found[4] = Range(addresses.free_user(taken))
    if call.ipv6 and 6 not in found:  # noqa: PLR2004 - as above
        found[6] = Range(addresses.free_ipv6(secrets.token_bytes(7)))
    return tuple(found[version] for version in _VERSIONS if version in found)


def network_from(call: CreateNetwork, own: tuple[Range, ...], names: LinkNames) -> Network:
    """Return the network that a checked request asks for."""
    network_id = model.new_id()
    return new_network(
        call.name,
        names.bridge(network_id),
        own,
        network_id=network_id,
        internal=call.internal,
        icc=call.icc,
        labels=call.labels,
    )


def new_network(
    name: str,
    bridge: str,
    own: tuple[Range, ...],
    *,
    network_id: str = "",
    internal: bool = False,
    icc: bool = True,
    labels: Mapping[str, str] | None = None,
) -> Network:
    """Return a network that is not on record yet. Its bridge's MAC address stays as long as it lives."""
    return Network(
        id=network_id or model.new_id(),
        name=name,
        bridge=bridge,
        mac="02:42:" + secrets.token_bytes(4).hex(":"),
        ranges=own,
        created_at=time.time(),
        internal=internal,
        icc=icc,
        labels=dict(labels or {}),
    )
