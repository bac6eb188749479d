"""The state database: one sqlite file, written from the trio thread only.

Owns the schema, its version, and the tables of containers and events; the image store keeps its tables in
the same file. A row has what was decided once (`config`) and what changes (`status`), both JSON, so that
`sqlite3 state.db` shows a person what is there, and a checksum of each: sqlite has none of its own. How it is
opened is in store_file.py.

WAL with synchronous=NORMAL: a commit costs no fsync, a killed process loses nothing, and a power cut can
lose the last commits but never the database. Checkpoints, which do fsync, run in a worker thread.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import trio

from wherry_protocol.errors import NoSpace
from wherryd import journal, store_file
from wherryd.kernel import failpoints
from wherryd.store_file import StoreDamaged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

CHECKPOINT_AFTER = 1000
"""Commits between checkpoints: the WAL stays at a few MiB."""


class Store:
    """The open database. Changes are made inside `transaction`, several in one commit."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._commits = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the database at `path`, and look whether it is whole.

        Raises StoreDamaged; StoreError when it is from a newer version, NoSpace when it cannot be written,
        BadRequest when it is not ours; then nothing of it has changed.
        """
        store = cls(path, store_file.connect(path))
        try:
            for _ in store.containers():
                pass
        except BaseException:
            store.connection.close()
            raise
        return store

    def close(self) -> None:
        """Checkpoint and close."""
        _try_checkpoint(self.connection, "TRUNCATE")
        self.connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Commit what is written inside, or nothing of it. Raises NoSpace when the disk refuses."""
        self._commits += 1
        failpoints.hit("store.begin")
        self._write("BEGIN IMMEDIATE", ())
        try:
            yield
            failpoints.hit("store.commit")
            self._write("COMMIT", ())
            failpoints.hit("store.committed")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def meta(self, key: str) -> str | None:
        """Return a fact kept under `key`, or None."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Keep a fact under `key`."""
        with self.transaction():
            self.write_meta(key, value)

    def write_meta(self, key: str, value: str) -> None:
        """Do as `set_meta` does, inside a transaction."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_container(
        self, *, container_id: str, name: str, config: dict[str, Any], status: dict[str, Any]
    ) -> None:
        """Write a new container."""
        self._write(
            "INSERT INTO containers (id, name, config, status, config_sum, status_sum) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (container_id, name, *_summed(config, status)),
        )

    def set_status(self, container_id: str, status: dict[str, Any]) -> None:
        """Write what changed of a container."""
        self._write(
            "UPDATE containers SET status = ?, status_sum = ? WHERE id = ?", (*_summed(status), container_id)
        )

    def set_name(self, container_id: str, name: str) -> None:
        """Write a container's new name."""
        self._write("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))

    def set_config(self, container_id: str, config: dict[str, Any]) -> None:
        """Write what somebody changed of a container."""
        self._write(
            "UPDATE containers SET config = ?, config_sum = ? WHERE id = ?", (*_summed(config), container_id)
        )

    def remove_container(self, container_id: str) -> None:
        """Forget a container."""
        self._write("DELETE FROM containers WHERE id = ?", (container_id,))

    def containers(self) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
        """Yield (id, name, config, status) of every container. Raises StoreDamaged."""
        rows = self._all(
            "SELECT id, name, config, status, config_sum, status_sum FROM containers ORDER BY rowid"
        )
        for container_id, name, config, status, *sums in rows:
            if [zlib.crc32(config.encode()), zlib.crc32(status.encode())] != sums:
                raise StoreDamaged(self.path, f"container {name}'s checksum is wrong")
            yield container_id, name, json.loads(config), json.loads(status)

    def _all(self, statement: str) -> list[Any]:
        try:
            return self.connection.execute(statement).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(self.path, error) from error

    def add_events(self, last: int, batch: bytes) -> None:
        """Write a batch of events, the newest of which has the number `last`."""
        self._write("INSERT INTO events (last, batch) VALUES (?, ?)", (last, batch))

    def drop_events(self, number: int) -> None:
        """Forget the batches that have no event above `number`."""
        self._write("DELETE FROM events WHERE last <= ?", (number,))

    def events_after(self, number: int, limit: int) -> list[bytes]:
        """Return at most `limit` batches with events above `number`, oldest first."""
        rows = self.connection.execute(
            "SELECT batch FROM events WHERE last > ? ORDER BY last LIMIT ?", (number, limit)
        )
        return [batch for (batch,) in rows.fetchall()]

    def last_event(self) -> int:
        """Return the newest event's number, 0 when there is none."""
        number: int = self.connection.execute("SELECT ifnull(max(last), 0) FROM events").fetchone()[0]
        return number

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough has been written for a checkpoint."""
        return self._commits >= CHECKPOINT_AFTER

    async def checkpoint(self) -> None:
        """Move the WAL into the database, off the event loop."""
        self._commits = 0
        await trio.to_thread.run_sync(_checkpoint, self.path)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            self.connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if store_file.is_full(error):
                raise NoSpace(
                    f"state database {self.path}: {error}",
                    hint="free some space and try again",
                    path=str(self.path),
                ) from error
            raise


def _summed(*values: dict[str, Any]) -> tuple[str | int, ...]:
    """Return values as JSON, then the checksum of each."""
    texts = [json.dumps(value) for value in values]
    return (*texts, *[zlib.crc32(text.encode()) for text in texts])


def _checkpoint(path: Path) -> None:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
    except sqlite3.OperationalError as error:
        journal.warning("state database not checkpointed", error=error)
        return
    try:
        _try_checkpoint(connection, "PASSIVE")
    finally:
        connection.close()


def _try_checkpoint(connection: sqlite3.Connection, mode: str) -> None:
    """Nothing is lost when it fails, as on a full disk: what was committed stays in the WAL."""
    try:
        connection.execute(f"PRAGMA wal_checkpoint({mode})")
    except sqlite3.OperationalError as error:
        journal.warning("state database not checkpointed", error=error)
