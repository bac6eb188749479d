# Made from async_verbs/networks.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about networks."""

from __future__ import annotations

from wherry.verbs.base import VerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol import networks
    from wherry_protocol.networks import NetworkSummary
else:
    networks = Lazy("wherry_protocol.networks")


class NetworkVerbs(VerbsBase):
    """One method per verb about networks. A network is meant by its name, its id or a prefix of that."""

    def create_network(
        self,
        name: str,
        *,
        subnets: Sequence[str] = (),
        gateways: Sequence[str] = (),
        internal: bool = False,
        ipv6: bool = False,
        icc: bool = True,
        labels: Mapping[str, str] | None = None,
        driver: str = "bridge",
    ) -> NetworkSummary:
        """Make a network of one subnet of IPv4, and perhaps one of IPv6, in CIDR form; chosen if not given.

        Raises BadRequest, and Conflict when the name is taken or a subnet is in use on this host.
        """
        return self.call(
            networks.CreateNetwork(
                name=name,
                subnets=tuple(subnets),
                gateways=tuple(gateways),
                driver=driver,
                internal=internal,
                ipv6=ipv6,
                icc=icc,
                labels=labels or {},
            )
        )

    def inspect_network(self, ref: str) -> NetworkSummary:
        """Return what there is to know of a network. Raises NotFound."""
        return self.call(networks.InspectNetwork(ref=ref))

    def networks(self, *, filters: Sequence[tuple[str, str]] = ()) -> tuple[NetworkSummary, ...]:
        """Return the networks, by name.

        Filters are ("name", part), ("id", prefix), ("label", "key" or "key=value"), ("driver", name),
        ("type", "builtin" or "custom"), ("dangling", "true" or "false"). Same key twice: either; different
        keys: both.
        """
        return self.call(networks.ListNetworks(filters=tuple(filters)))

    def remove_network(self, ref: str) -> None:
        """Remove a network. Raises NotFound, Conflict naming a container that is on it."""
        self.call(networks.RemoveNetwork(ref=ref))

    def connect_network(
        self,
        network: str,
        ref: str,
        *,
        ip: str | None = None,
        ip6: str | None = None,
        mac_address: str | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        """Put a container on one more network: at once if it runs, and whenever it starts."""
        endpoint = networks.EndpointSpec(
            network=network, ip=ip, ip6=ip6, mac_address=mac_address, aliases=tuple(aliases)
        )
        self.call(networks.Connect(ref=ref, endpoint=endpoint))

    def disconnect_network(self, network: str, ref: str, *, force: bool = False) -> None:
        """Take a container off a network, now and for its later starts."""
        self.call(networks.Disconnect(network=network, ref=ref, force=force))

    def prune_networks(self, *, filters: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
        """Remove every network that no container is on, and return their names.

        Filters are ("until", seconds since the epoch), ("label", …), ("label!", …): all must hold.
        """
        return self.call(networks.PruneNetworks(filters=tuple(filters)))
