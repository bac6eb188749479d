"""What a request may say of networks, names and name servers. Pure but for who is known; changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.networks import BRIDGE, DEFAULT, PREDEFINED
from wherryd.containers.names import NAME
from wherryd.network.addresses import parse_address
from wherryd.network.hosts import HOST_GATEWAY
from wherryd.network.modes import CONTAINER, has_networks, wanted

if TYPE_CHECKING:
    from wherry_protocol.networks import EndpointSpec
    from wherry_protocol.run_spec import RunSpec
    from wherryd.network.known import KnownNetworks

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOST = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?")
_WORD = re.compile(r"[!-~]{1,255}")

_MANY = 32
"""Networks of one container, name servers, search domains, options, aliases: more is a mistake."""


def check(spec: RunSpec) -> None:
    """Raises BadRequest naming the value that cannot be."""
    _check_mode(spec)
    for name, values in (
        ("networks", spec.endpoints), ("dns", spec.dns), ("dns_search", spec.dns_search),
        ("dns_options", spec.dns_options),
    ):  # fmt: skip
        if len(values) > _MANY:
            raise BadRequest(f"{name}: {len(values)} are too many", hint=f"at most {_MANY}")
    for endpoint in spec.endpoints:
        check_endpoint(endpoint)
    for server in spec.dns:
        parse_address(server, "dns")
    for what, words in (("search domain", spec.dns_search), ("option", spec.dns_options)):
        for word in words:
            if _WORD.fullmatch(word) is None:
                raise BadRequest(
                    f"{what} {word[:60]!r} cannot stand in resolv.conf", hint="one word is wanted"
                )
    for line in spec.extra_hosts:
        _check_extra_host(line)


def _check_mode(spec: RunSpec) -> None:
    if not has_networks(spec):
        if any(each.network != spec.network for each in spec.endpoints) or len(spec.endpoints) > 1:
            raise BadRequest(f"network {spec.network} cannot be combined with others")
        if spec.endpoints:
            raise BadRequest(f"network {spec.network} has no addresses and aliases to choose")
    other = spec.network.removeprefix(CONTAINER)
    if spec.network.startswith(CONTAINER):
        if NAME.fullmatch(other) is None:
            raise BadRequest(f"network {spec.network[:140]!r}: a container's name or id is missing")
        for value, what in (
            (spec.hostname, "hostname"),
            (spec.dns, "dns"),
            (spec.extra_hosts, "extra hosts"),
        ):
            if value:
                raise BadRequest(f"{what}: those of container {other} count, whose network is joined")
    names = [each.network for each in spec.endpoints]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadRequest(f"network {twice[:130]} is asked for twice")


def check_endpoint(endpoint: EndpointSpec) -> None:
    """Raises BadRequest naming the value that cannot be."""
    if NAME.fullmatch(endpoint.network) is None:
        raise BadRequest(f"network {endpoint.network[:130]!r}: no network can be called so")
    if endpoint.network in PREDEFINED and endpoint.network != BRIDGE:
        raise BadRequest(f"network {endpoint.network} cannot be combined with others")
    for text, version in ((endpoint.ip, 4), (endpoint.ip6, 6)):
        if text is not None:
            parse_address(text, "address", version)
    mac = endpoint.mac_address
    if mac is not None and (
        _MAC.fullmatch(mac.lower()) is None or int(mac[:2], 16) & 1 or not int(mac[3:].replace(":", ""), 16)
    ):
        raise BadRequest(
            f"MAC address {mac[:40]!r} cannot be", hint="six bytes as 02:42:0a:00:00:02, no multicast"
        )
    if len(endpoint.aliases) > _MANY:
        raise BadRequest(f"aliases: {len(endpoint.aliases)} are too many", hint=f"at most {_MANY}")
    for alias in endpoint.aliases:
        if _HOST.fullmatch(alias) is None:
            raise BadRequest(f"alias {alias[:60]!r} is no host name")


def _check_extra_host(line: str) -> None:
    name, _, address = line.partition(":")
    if _HOST.fullmatch(name) is None:
        raise BadRequest(f"extra host {line[:80]!r}: {name[:60]!r} is no host name", hint="write NAME:IP")
    if address != HOST_GATEWAY:
        parse_address(address.strip("[]"), f"extra host {name}:")


def settle(spec: RunSpec, default: str, known: KnownNetworks) -> RunSpec:
    """Return the request with networks by name, and the one that it will have if it left that open.

    Raises NotFound, BadRequest, Conflict.
    """
    plain = spec.network in ("none", "host") and not spec.endpoints
    if plain and not (spec.dns or spec.dns_search or spec.dns_options or spec.extra_hosts):
        return spec  # most of those that want to start the fastest
    name = _name(spec.network, default, known)
    named = tuple(each.replace(network=_name(each.network, default, known)) for each in spec.endpoints)
    if name != spec.network or named != spec.endpoints:
        spec = spec.replace(network=name, endpoints=named)
    check(spec)
    return spec


def _name(reference: str, default: str, known: KnownNetworks) -> str:
    if reference == DEFAULT:
        return default
    if reference in PREDEFINED or reference.startswith(CONTAINER):
        return reference
    return known.find(reference).name


def check_addresses(spec: RunSpec, known: KnownNetworks) -> None:
    """Raises BadRequest for an address that its network does not have."""
    for each in wanted(spec):
        network = known.get(each.network)
        if network is None:
            continue  # "bridge", before it is first used
        if each.ip is not None:
            network.ipv4.check(parse_address(each.ip, "address"), f"network {network.name}")
        if each.ip6 is not None:
            if network.ipv6 is None:
                raise BadRequest(f"address {each.ip6}: network {network.name} has no IPv6")
            network.ipv6.check(parse_address(each.ip6, "address"), f"network {network.name}")
