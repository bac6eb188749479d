"""Which networks there are: found by name, id, or id prefix. Their records follow. Sync, no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, NotFound
from wherryd.containers.names import NAME, SHORT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.network.model import Network
    from wherryd.network.records import NetworkRecords


class KnownNetworks:
    """The networks of one supervisor."""

    def __init__(self, records: NetworkRecords) -> None:
        self._records = records
        self._by_name = {network.name: network for network in records}

    def __iter__(self) -> Iterator[Network]:
        """Iterate over a copy, by name."""
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def get(self, name: str) -> Network | None:
        """Return the network of exactly this name."""
        return self._by_name.get(name)

    def by_id(self, network_id: str) -> Network | None:
        """Return the network of exactly this id."""
        return next((network for network in self if network.id == network_id), None)

    def find(self, reference: str) -> Network:
        """Return the network that a name, an id or an unambiguous id prefix means.

        Raises NotFound, BadRequest for what can be no reference, Conflict for an ambiguous prefix.
        """
        found = self._by_name.get(reference)
        if found is not None:
            return found
        if NAME.fullmatch(reference) is None:
            raise BadRequest(f"network {reference[:80]!r}: no network can be called so")
        matches = [network for network in self if network.id.startswith(reference)]
        if not matches:
            raise NotFound(f"no network {reference}", hint="see 'wherry network ls'")
        if len(matches) > 1:
            ids = ", ".join(network.id[:SHORT_ID] for network in matches[:3])
            raise Conflict(f"network id prefix {reference} is ambiguous: {ids}")
        return matches[0]

    def add(self, network: Network) -> None:
        """Take a network in, on record. Raises Conflict when its name is taken, NoSpace."""
        if network.name in self._by_name:
            raise Conflict(f"network {network.name} exists already", hint="choose another name")
        self._records.save(network)
        self._by_name[network.name] = network

    def save(self, network: Network) -> None:
        """Write a network that has changed. Raises NoSpace."""
        self._records.save(network)

    def discard(self, network: Network) -> None:
        """Forget a network. Raises NoSpace, and then nothing has changed."""
        self._records.remove(network)
        del self._by_name[network.name]
