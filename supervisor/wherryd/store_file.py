"""The state database's file: opened, found whole or damaged, brought to the present schema.

Owns the schema of containers, events and facts, and its version: every older one is brought up to it, a newer
one is left as it is. Must never repair what is damaged: salvage/ keeps that aside and begins anew.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
import zlib
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, NoSpace, WherryError
from wherryd import journal

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 2

CHECK_SECONDS = 1.0
"""For the look at a whole database, which takes 5 ms with a few hundred containers."""

CHECK_STEPS = 10_000
"""Instructions of sqlite's between two looks at the clock."""

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_ERRNO_FULL = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}

_SCHEMA = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE containers (
        id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, config TEXT NOT NULL, status TEXT NOT NULL,
        config_sum INTEGER, status_sum INTEGER
    );
    CREATE TABLE events (last INTEGER PRIMARY KEY, batch BLOB NOT NULL);
"""

_STEPS = {
    1: """
    ALTER TABLE containers ADD COLUMN config_sum INTEGER;
    ALTER TABLE containers ADD COLUMN status_sum INTEGER;
    UPDATE containers SET config_sum = crc32(config), status_sum = crc32(status);
""",
}
"""By version: what makes the next one of it."""


class StoreError(WherryError):
    """The state database cannot be used."""

    code = "internal"


class StoreDamaged(StoreError):  # noqa: N818 - a state, as NoSpace is
    """It is no database, or not the one that was written."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"state database {path} is damaged: {reason}", path=str(path))


def is_full(error: sqlite3.Error) -> bool:
    """Say whether the disk is at fault: full, read-only, or gone."""
    return error.sqlite_errorcode & 0xFF in _FULL


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the database. Raises as `Store.open` does."""
    try:
        _keep_private(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=True)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise StoreDamaged(path, error) from error
        raise NoSpace(
            f"state database {path}: {error}", hint="is the disk full or read-only?", path=str(path)
        ) from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"state database {path} has version {version}, this wherryd knows up to {SCHEMA_VERSION}",
            hint="run the newer wherryd, or move the file aside",
            path=str(path),
        )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA cache_size=-512")
    connection.execute("PRAGMA temp_store=MEMORY")
    _check(connection, path)
    _migrate(connection, version)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Look at every page, within a bound: what is not reached is found when it is read."""
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        journal.warning("state database not checked to its end: it is large", path=path)
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise StoreDamaged(path, " ".join(found.split()))


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the schema to the present version, in one transaction."""
    if version == SCHEMA_VERSION:
        return
    connection.create_function("crc32", 1, _crc32, deterministic=True)
    steps = "".join(_STEPS[each] for each in range(version, SCHEMA_VERSION)) if version else _SCHEMA
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if version:
        journal.info("state database brought up to date", before=version, now=SCHEMA_VERSION)


def _crc32(text: str) -> int:
    return zlib.crc32(text.encode())


def _keep_private(path: Path) -> None:
    """Make the file ours alone before sqlite makes it; its journal and shared memory take the mode over."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise BadRequest(
                f"state database {path} is not a file of uid {os.geteuid()}",
                hint="fix its owner, or move it aside",
                path=str(path),
            )
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _unusable(path: Path, error: OSError) -> WherryError:
    if error.errno in _ERRNO_FULL:
        kind: type[WherryError] = NoSpace
        hint = "is the disk full or read-only?"
    else:
        kind, hint = BadRequest, "move aside what is there, or choose another --state-dir"
    return kind(f"state database {path}: {error.strerror}", hint=hint, errno=error.errno, path=str(path))
