"""Network requests: bridges that containers are on, with the addresses that they have there."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""

DEFAULT = "default"
"""RunSpec.network: what the supervisor is configured for, "bridge" unless somebody changed that."""

BRIDGE = "bridge"
"""The network that is always there; containers on it do not know each other's names."""

PREDEFINED = (BRIDGE, "host", "none")
"""Names that no user network can have."""

DRIVER = "bridge"
"""The only kind of network that can be made."""


class EndpointSpec(Value):
    """What a container asks of a network, by the network's name or id; None: whatever is free.

    `aliases` are names, beside its own, by which its neighbours find it. A MAC address is written
    "02:42:0a:00:00:02".
    """

    network: str
    ip: str | None = None
    ip6: str | None = None
    mac_address: str | None = None
    aliases: tuple[str, ...] = ()


class Endpoint(Value):
    """A container's place on a network, while it runs. `id` is 64 hex digits.

    `interface` is the link's name in the container, `link` that of its other end, on the host.
    `gateway` is None on an internal network. `primary`: default routes and published ports go this way.
    """

    id: str
    network_id: str
    network: str
    interface: str
    link: str
    mac_address: str
    ip: str
    prefix: int
    gateway: str | None = None
    ip6: str | None = None
    prefix6: int = 0
    gateway6: str | None = None
    aliases: tuple[str, ...] = ()
    primary: bool = False


class Subnet(Value):
    """A range of addresses in CIDR form, and the one that the host's bridge has in it."""

    subnet: str
    gateway: str


class Member(Value):
    """A container that is on a network now."""

    container_id: str
    name: str
    endpoint: Endpoint


class NetworkSummary(Value):
    """A network. `bridge` is the link's name on the host; `created_at` is in seconds since the epoch.

    `subnets` are one of IPv4 and, on a network with IPv6, one of that. `icc`: whether its containers reach
    each other. `driver` is "bridge", or "host" and "null" for the two predefined ones that have no bridge.
    """

    id: str
    name: str
    driver: str
    created_at: float
    bridge: str = ""
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    icc: bool = True
    labels: Mapping[str, str] = NOTHING
    members: tuple[Member, ...] = ()


class CreateNetwork(Call[NetworkSummary]):
    """Make a network. Without `subnets` (CIDR) a free one is chosen, and with `ipv6` one of IPv6 too.

    `gateways` are the host's addresses in them; without, each one's first.
    """

    op = "network_create"
    answer = NetworkSummary
    name: str
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    driver: str = DRIVER
    internal: bool = False
    ipv6: bool = False
    icc: bool = True
    labels: Mapping[str, str] = NOTHING


class InspectNetwork(Call[NetworkSummary]):
    """Ask for one network, by name, id or a prefix of the id."""

    op = "network_inspect"
    answer = NetworkSummary
    ref: str


class ListNetworks(Call[tuple[NetworkSummary, ...]]):
    """Ask for networks, by name.

    Filters, as docker: ("name", substring), ("id", prefix), ("driver", name), ("label", key or key=value),
    ("type", "builtin" or "custom"), ("dangling", "true" or "false"). Same key twice: either; different keys:
    both.
    """

    op = "network_ls"
    answer = tuple[NetworkSummary, ...]
    filters: tuple[tuple[str, str], ...] = ()


class RemoveNetwork(Call[None]):
    """Remove a network that no container is on."""

    op = "network_rm"
    ref: str


class Connect(Call[None]):
    """Put a container on one more network: at once if it runs, and whenever it starts."""

    op = "network_connect"
    ref: str
    endpoint: EndpointSpec


class Disconnect(Call[None]):
    """Take a container off a network, now and for its later starts.

    `force`: one that is not on it, or not there, is fine.
    """

    op = "network_disconnect"
    network: str
    ref: str
    force: bool = False


class PruneNetworks(Call[tuple[str, ...]]):
    """Remove every network that no container is on; answers with their names.

    Filters, as docker: ("label", key or key=value), ("label!", the same), ("until", seconds since the epoch).
    """

    op = "network_prune"
    answer = tuple[str, ...]
    filters: tuple[tuple[str, str], ...] = ()
