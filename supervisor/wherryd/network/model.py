"""A network as the supervisor knows it, and the names that its links have in the kernel. Pure."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherry_protocol.networks import BRIDGE, DRIVER, NetworkSummary, Subnet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry_protocol.networks import Endpoint
    from wherryd.network.addresses import Address, Range

_LINK_DIGITS = 8


@dataclass(slots=True, kw_only=True, eq=False)
class Network:
    """A network. `bridge` is the link's name on the host, `mac` its address there.

    `ranges` are one of IPv4 and perhaps one of IPv6. `up`: its bridge was made by this supervisor or found.
    """

    id: str
    name: str
    bridge: str
    mac: str
    ranges: tuple[Range, ...]
    created_at: float
    internal: bool = False
    icc: bool = True
    labels: Mapping[str, str]
    up: bool = False
    removing: bool = False

    @property
    def ipv4(self) -> Range:
        """Its addresses of IPv4."""
        return self.ranges[0]

    @property
    def ipv6(self) -> Range | None:
        """Its addresses of IPv6, if it has them."""
        return self.ranges[1] if len(self.ranges) > 1 else None

    @property
    def predefined(self) -> bool:
        """Whether it is the one that is always there."""
        return self.name == BRIDGE

    def to_json(self) -> dict[str, Any]:
        """Return what the state database keeps."""
        return {
            "bridge": self.bridge,
            "mac": self.mac,
            "ranges": [[str(each.network), str(each.gateway)] for each in self.ranges],
            "created_at": self.created_at,
            "internal": self.internal,
            "icc": self.icc,
            "labels": dict(self.labels),
        }

    def summary(self) -> NetworkSummary:
        """Return the network as clients see it, without its members."""
        return NetworkSummary(
            id=self.id,
            name=self.name,
            driver=DRIVER,
            created_at=self.created_at,
            bridge=self.bridge,
            subnets=tuple(
                Subnet(subnet=str(each.network), gateway=str(each.gateway)) for each in self.ranges
            ),
            internal=self.internal,
            icc=self.icc,
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNames:
    """What the links of one supervisor are called: no other's are so, and strays can be told.

    `default` is the bridge of the network "bridge"; `bridges` and `ends` begin the names of the bridges of
    user networks, and of the host's ends of pairs. At most 15 bytes each (IFNAMSIZ).
    """

    default: str
    bridges: str
    ends: str

    @classmethod
    def of(cls, instance: str) -> LinkNames:
        """Return those of the supervisor of this name ("wherry", "wherry-1a2b3c4d")."""
        mark = base64.b32encode(hashlib.sha256(instance.encode()).digest())[:4].decode().lower()
        default = "wherry0" if instance == "wherry" else instance
        return cls(default=default, bridges=f"wn{mark}-", ends=f"wv{mark}-")

    def bridge(self, network_id: str) -> str:
        """Return the name of a user network's bridge."""
        return self.bridges + network_id[:_LINK_DIGITS]

    def end(self, endpoint_id: str) -> str:
        """Return the name of the host's end of a pair."""
        return self.ends + endpoint_id[:_LINK_DIGITS]


UNBRIDGED = tuple(
    NetworkSummary(
        id=hashlib.sha256(f"network {name}".encode()).hexdigest(), name=name, driver=driver, created_at=0.0
    )
    for name, driver in (("host", "host"), ("none", "null"))
)
"""The predefined networks that are none: the host's own, and nothing but loopback."""


def new_id() -> str:
    """Return 64 random hex digits."""
    return secrets.token_hex(32)


def mac_of(address: Address) -> str:
    """Return the MAC address that goes with an address: as long as it is used again, caches stay right."""
    return "02:42:" + address.packed.hex(":")


def end_of(network: Network, endpoint: Endpoint, mtu: int) -> dict[str, Any]:
    """Return what the network process needs to know of an endpoint: see links.End."""
    return {**endpoint.to_wire(), "bridge": network.bridge, "mtu": mtu}
