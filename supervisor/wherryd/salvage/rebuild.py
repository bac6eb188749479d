"""From record files to the rows of a new state database. Called inside a transaction.

A file that cannot be read, or that makes no container, is told and passed over: it must not keep the others
from coming back. A volume whose record is gone is known by its directory: its data is the last thing to lose.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

from wherryd import journal
from wherryd.containers.container import restored
from wherryd.containers.names import NAME, SHORT_ID
from wherryd.events.log import begin_at
from wherryd.salvage import recordfile, tables
from wherryd.salvage.copies import TABLES
from wherryd.salvage.recordfile import BadRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherryd.settings import Settings
    from wherryd.store import Store

ANONYMOUS_NAME = 64
"""Characters in an anonymous volume's name: see volumes/store.py."""


def rebuild(store: Store, settings: Settings, reason: str | None, aside: Path) -> int:
    """Fill an empty database; return how many rows it has now. Raises NoSpace, sqlite3.Error."""
    count = _load_tables(store, settings.records_dir / TABLES)
    count += _find_volumes(store.connection, settings.volumes_dir)
    count += _load_containers(store, settings)
    if count or reason is not None:
        # No number that somebody saw is given again: there were never as many events as milliseconds.
        facts = {
            "reason": reason or "the state database was missing",
            **({"kept": str(aside)} if reason else {}),
        }
        begin_at(store, time.time_ns() // 1_000_000, settings.instance, facts)
    return count


def _load_tables(store: Store, path: Path) -> int:
    body = _read(path)
    try:
        return tables.load(store.connection, body) if body is not None else 0
    except (sqlite3.DataError, sqlite3.IntegrityError, AttributeError) as error:
        journal.error("record cannot be used", path=path, error=error)
        return 0


def _find_volumes(database: sqlite3.Connection, directory: Path) -> int:
    known = {name for (name,) in database.execute("SELECT name FROM volumes").fetchall()}
    count = 0
    for path in directory.iterdir():
        if path.name not in known and NAME.fullmatch(path.name) and (path / "_data").is_dir():
            anonymous = len(path.name) == ANONYMOUS_NAME
            row = (path.name, path.stat().st_mtime, "{}", int(anonymous))
            database.execute("INSERT INTO volumes VALUES (?, ?, ?, ?)", row)
            journal.warning("volume found without a record", name=path.name)
            count += 1
    return count


def _load_containers(store: Store, settings: Settings) -> int:
    names: set[str] = set()
    bodies = sorted(_containers(settings), key=lambda body: body["status"]["created_at"])
    for body in bodies:
        name = body["name"] if body["name"] not in names else f"{body['name']}-{body['id'][:SHORT_ID]}"
        names.add(name)
        store.add_container(container_id=body["id"], name=name, config=body["config"], status=body["status"])
    return len(bodies)


def _containers(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the records that make a container."""
    for path in settings.records_dir.iterdir():
        body = None if path.name == TABLES else _read(path)
        if body is None:
            continue
        try:
            restored(body["id"], body["name"], body["config"], body["status"], settings.containers_dir)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            journal.error("record makes no container", path=path, error=repr(error))
            continue
        yield body


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return recordfile.read(path)
    except FileNotFoundError:
        return None
    except (BadRecord, OSError) as error:
        journal.error("record cannot be read", path=path, error=error)
        return None
