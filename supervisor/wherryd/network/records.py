"""The networks in the state database. Who is on them is in the containers' own records."""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import NoSpace
from wherryd.network.addresses import Range
from wherryd.network.model import Network

if TYPE_CHECKING:
    from collections.abc import Iterator


TABLE = """
CREATE TABLE IF NOT EXISTS networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, config TEXT NOT NULL
) WITHOUT ROWID;
"""


class NetworkRecords:
    """The table of networks, in a database that commits by itself."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._write(TABLE)

    def __iter__(self) -> Iterator[Network]:
        """Iterate over the networks on record."""
        for network_id, name, config in self._database.execute(
            "SELECT id, name, config FROM networks"
        ).fetchall():
            yield _network(network_id, name, json.loads(config))

    def save(self, network: Network) -> None:
        """Write a network, new or changed. Raises NoSpace."""
        values = (network.id, network.name, json.dumps(network.to_json()))
        self._write("INSERT OR REPLACE INTO networks (id, name, config) VALUES (?, ?, ?)", values)

    def remove(self, network: Network) -> None:
        """Forget a network. Raises NoSpace."""
        self._write("DELETE FROM networks WHERE id = ?", (network.id,))

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise NoSpace(f"networks not written: {error}", hint="is the disk full or read-only?") from error


def _network(network_id: str, name: str, config: dict[str, Any]) -> Network:
    ranges = tuple(
        Range(ipaddress.ip_network(subnet), ipaddress.ip_address(gateway))
        for subnet, gateway in config.pop("ranges")
    )
    return Network(id=network_id, name=name, ranges=ranges, **config)
