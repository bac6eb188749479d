"""What the database remembers of volumes.

Owns its table. Reads only at the start: afterwards the answers are in memory, and the database follows.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from wherry_protocol.errors import NoSpace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLE = """
CREATE TABLE IF NOT EXISTS volumes (
    name TEXT PRIMARY KEY, created_at REAL NOT NULL, labels TEXT NOT NULL, anonymous INTEGER NOT NULL
) STRICT;
"""


@dataclass(slots=True, kw_only=True, eq=False)
class Known:
    """A volume. `filling` is held by who looks whether it is to be filled; `pins` counts containers to be.

    Until it is `recorded` it exists for those only: a crash, or the end of the last pin, takes it away.
    """

    name: str
    created_at: float
    labels: Mapping[str, str]
    anonymous: bool
    filling: trio.Lock = field(default_factory=trio.Lock)
    pins: int = 0
    recorded: bool = False


class KnownVolumes:
    """The volumes by name."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(TABLE)
        rows = database.execute("SELECT name, created_at, labels, anonymous FROM volumes")
        self._volumes = {
            name: Known(
                name=name,
                created_at=at,
                labels=json.loads(labels),
                anonymous=bool(anonymous),
                recorded=True,
            )
            for name, at, labels, anonymous in rows
        }

    def __iter__(self) -> Iterator[Known]:
        """Iterate over a copy, by name."""
        return iter(sorted(self._volumes.values(), key=lambda volume: volume.name))

    def get(self, name: str) -> Known | None:
        """Return the volume of this name."""
        return self._volumes.get(name)

    def add(self, volume: Known) -> None:
        """Know a new volume, for the time being."""
        self._volumes[volume.name] = volume

    def record(self, volume: Known) -> None:
        """Know it for good. Raises NoSpace."""
        if volume.recorded:
            return
        labels = json.dumps(dict(volume.labels))
        self._execute(
            "INSERT INTO volumes VALUES (?, ?, ?, ?)",
            volume.name, volume.created_at, labels, int(volume.anonymous),
        )  # fmt: skip
        volume.recorded = True

    def forget(self, volume: Known) -> None:
        """Forget a volume. Raises NoSpace."""
        if volume.recorded:
            self._execute("DELETE FROM volumes WHERE name = ?", volume.name)
        del self._volumes[volume.name]

    def _execute(self, statement: str, *values: Any) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise NoSpace(f"the state database cannot be written: {error}") from error
