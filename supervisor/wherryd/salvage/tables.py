"""The small tables of the state database that share one copy, and how a change in them is noticed.

Other modules own the tables and what they mean; here they are rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherryd.images.known import TABLES as IMAGE_TABLES
from wherryd.network.records import TABLE as NETWORK_TABLE
from wherryd.volumes.known import TABLE as VOLUME_TABLE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

COPIED = ("networks", "volumes", "image_names")


def make(database: sqlite3.Connection) -> None:
    """Make the tables that are not there."""
    database.executescript(IMAGE_TABLES + NETWORK_TABLE + VOLUME_TABLE)


def watch(database: sqlite3.Connection, changed: Callable[[], None]) -> None:
    """Have `changed` called whenever this connection changes a row.

    The triggers are the connection's own: the file has none, and other programs may write it.
    """

    def tell() -> None:
        changed()

    database.create_function("wherry_changed", 0, tell)
    for table in COPIED:
        for event in ("INSERT", "UPDATE", "DELETE"):
            database.execute(
                f"CREATE TEMP TRIGGER copy_{table}_{event} AFTER {event} ON main.{table} "
                "BEGIN SELECT wherry_changed(); END"
            )


def dump(database: sqlite3.Connection) -> dict[str, Any]:
    """Return every row of the tables."""
    return {table: _rows(database, table) for table in COPIED}


def _rows(database: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    cursor = database.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of COPIED
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def load(database: sqlite3.Connection, dumped: dict[str, Any]) -> int:
    """Put rows that `dump` gave into the tables; return how many. Raises sqlite3.Error."""
    count = 0
    for table in COPIED:
        for row in dumped.get(table, ()):
            columns = ", ".join(f'"{column}"' for column in row)
            marks = ", ".join("?" * len(row))
            database.execute(
                f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608 - the record's own
                tuple(row.values()),
            )
            count += 1
    return count
