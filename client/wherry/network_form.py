"""Networks, and a container's place on them, in docker's field names.

Owns the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

from wherry.rfc3339 import rfc3339_seconds
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from wherry_protocol.container_state import ContainerDetails
    from wherry_protocol.networks import Endpoint, EndpointSpec, NetworkSummary

SHORT_ID = 12


def network_row(network: NetworkSummary, *, whole: bool = False) -> dict[str, Any]:
    """Return a row of `network ls`."""
    return {
        "ID": network.id if whole else network.id[:SHORT_ID],
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv6": str(_has_ipv6(network)).lower(),
        "Internal": str(network.internal).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in network.labels.items()),
        "CreatedAt": rfc3339_seconds(network.created_at),
        "Subnets": ",".join(each.subnet for each in network.subnets),
    }


def network_document(network: NetworkSummary) -> dict[str, Any]:
    """Return the document of `network inspect`; `Bridge` and `Icc` are wherry's own."""
    config = [{"Subnet": each.subnet, "Gateway": each.gateway} for each in network.subnets]
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339_seconds(network.created_at),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": _has_ipv6(network),
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "Containers": {
            each.container_id: {
                "Name": each.name,
                "EndpointID": each.endpoint.id,
                "MacAddress": each.endpoint.mac_address,
                "IPv4Address": f"{each.endpoint.ip}/{each.endpoint.prefix}",
                "IPv6Address": f"{each.endpoint.ip6}/{each.endpoint.prefix6}" if each.endpoint.ip6 else "",
            }
            for each in network.members
        },
        "Options": {},
        "Labels": dict(network.labels),
        "Bridge": network.bridge,
        "Icc": network.icc,
    }


def _has_ipv6(network: NetworkSummary) -> bool:
    return any(":" in each.subnet for each in network.subnets)


def network_settings(details: ContainerDetails) -> dict[str, Any]:
    """Return `NetworkSettings` of a container's document, but for its ports."""
    spec = details.spec
    primary = next((each for each in details.endpoints if each.primary), None)
    asked = {each.network: each for each in spec.endpoints}
    if details.endpoints:
        networks = {each.network: _endpoint(each, asked.get(each.network)) for each in details.endpoints}
    else:
        names = dict.fromkeys([spec.network, *asked])
        networks = {name: _endpoint(None, asked.get(name)) for name in names}
    shown = _addresses(primary)
    return {
        "SandboxKey": f"/proc/{details.pid}/ns/net" if details.pid else "",
        "EndpointID": primary.id if primary else "",
        **shown,
        "Networks": networks,
    }


def _addresses(endpoint: Endpoint | None) -> dict[str, Any]:
    if endpoint is None:
        return {
            "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "MacAddress": "",
        }  # fmt: skip
    return {
        "Gateway": endpoint.gateway or "",
        "IPAddress": endpoint.ip,
        "IPPrefixLen": endpoint.prefix,
        "IPv6Gateway": endpoint.gateway6 or "",
        "GlobalIPv6Address": endpoint.ip6 or "",
        "GlobalIPv6PrefixLen": endpoint.prefix6 if endpoint.ip6 else 0,
        "MacAddress": endpoint.mac_address,
    }


def _endpoint(endpoint: Endpoint | None, asked: EndpointSpec | None) -> dict[str, Any]:
    wanted = None
    if asked is not None and (asked.ip or asked.ip6):
        wanted = {"IPv4Address": asked.ip or "", "IPv6Address": asked.ip6 or ""}
    aliases = endpoint.aliases if endpoint else asked.aliases if asked else ()
    return {
        "IPAMConfig": wanted,
        "Links": None,
        "Aliases": list(aliases) or None,
        "NetworkID": endpoint.network_id if endpoint else "",
        "EndpointID": endpoint.id if endpoint else "",
        **_addresses(endpoint),
        "DriverOpts": None,
    }
