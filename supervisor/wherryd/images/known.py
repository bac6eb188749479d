"""What the store remembers in the database: names of images, and which file had which digest.

Owns its two tables. Reads only at start: afterwards the answers are in memory, and the database follows.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import NoSpace
from wherryd.images.names import spellings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

TABLES = """
CREATE TABLE IF NOT EXISTS image_names (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS image_files (
    path TEXT PRIMARY KEY, dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, digest TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A file in the state it was in: any write to it changes one of these."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        """Return the identity of a file that stat(2) described."""
        return cls(
            _signed(found.st_dev), _signed(found.st_ino), found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )


class Known:
    """Names and files, each with the digest (64 hex digits) it stands for."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(TABLES)
        self.names: dict[str, str] = dict(database.execute("SELECT name, digest FROM image_names"))
        self._files: dict[str, tuple[Identity, str]] = {
            path: (Identity(*identity), digest)
            for path, *identity, digest in database.execute(
                "SELECT path, dev, ino, size, mtime_ns, ctime_ns, digest FROM image_files"
            )
        }

    def keep_only(self, whole: Callable[[str], bool]) -> None:
        """Forget every name and file whose digest has no whole layer."""
        for digest in {*self.names.values(), *(digest for _, digest in self._files.values())}:
            if not whole(digest):
                self.forget(digest)

    def digest_of_name(self, name: str) -> str | None:
        """Return the digest that a name, with or without `:latest`, stands for."""
        bare, tagged = spellings(name)
        return self.names.get(bare) or self.names.get(tagged)

    def name_of(self, reference: str) -> str | None:
        """Return the name that a reference is, as it was given; None if it is none."""
        return next((name for name in spellings(reference) if name in self.names), None)

    def names_of(self, digest: str) -> tuple[str, ...]:
        """Return the names of an image, sorted."""
        return tuple(sorted(name for name, value in self.names.items() if value == digest))

    def give_name(self, name: str, digest: str) -> None:
        """Let `name` stand for `digest`, whatever it stood for before."""
        self.drop_name(name)
        self._execute("INSERT INTO image_names VALUES (?, ?, ?)", name, digest, time.time())
        self.names[name] = digest

    def drop_name(self, name: str) -> str | None:
        """Forget a name in both spellings; return the one that there was."""
        dropped = None
        for spelling in spellings(name):
            if spelling in self.names:
                self._execute("DELETE FROM image_names WHERE name = ?", spelling)
                del self.names[spelling]
                dropped = spelling
        return dropped

    def digest_of_file(self, path: str, identity: Identity) -> str | None:
        """Return the digest that this very state of the file had."""
        entry = self._files.get(path)
        return entry[1] if entry and entry[0] == identity else None

    def remember_file(self, path: str, identity: Identity, digest: str) -> None:
        """Know the file's digest from now on, until it changes."""
        self._execute(
            "INSERT OR REPLACE INTO image_files VALUES (?, ?, ?, ?, ?, ?, ?)",
            path,
            *astuple(identity),
            digest,
        )
        self._files[path] = (identity, digest)

    def forget(self, digest: str) -> None:
        """Forget every name and file of an image."""
        self._execute("DELETE FROM image_names WHERE digest = ?", digest)
        self._execute("DELETE FROM image_files WHERE digest = ?", digest)
        self.names = {name: value for name, value in self.names.items() if value != digest}
        self._files = {path: entry for path, entry in self._files.items() if entry[1] != digest}

    def _execute(self, statement: str, *values: Any) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise NoSpace(f"the state database cannot be written: {error}") from error


def _signed(number: int) -> int:
    # sqlite's integers have 64 bits with a sign; a device or inode number may use them all
    return number - (1 << 64) if number >= 1 << 63 else number
