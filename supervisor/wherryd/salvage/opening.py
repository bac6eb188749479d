"""The state database at the supervisor's start: as it is, or, where it is damaged or gone, made again.

A damaged one is moved aside, whole, and told loudly; what the new one has comes from the record files. Who
runs without one is known to the launcher: see strays.py. Must never throw away what it cannot read.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.errors import KernelFailure, NoSpace
from wherryd import journal
from wherryd.salvage import tables
from wherryd.salvage.rebuild import rebuild
from wherryd.store import Store
from wherryd.store_file import StoreDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.settings import Settings

_FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
_WHOLE = "salvage_done"
_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The open database. `rebuilt`: it was made again; what has no record then goes to `aside`."""

    store: Store
    rebuilt: bool
    aside: Path


def open_state(settings: Settings) -> Opened:
    """Open the state database, or make it again. Raises StoreError, NoSpace, BadRequest, KernelFailure."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = settings.aside_dir / stamp
    reason = None
    try:
        store = Store.open(settings.database)
    except StoreDamaged as error:
        reason = error.message
        _put_aside(settings.database, aside)
        store = Store.open(settings.database)
    rebuilt = _fill(store, settings, reason, aside)
    return Opened(store=store, rebuilt=rebuilt, aside=aside)


def _fill(store: Store, settings: Settings, reason: str | None, aside: Path) -> bool:
    """Fill an empty database from the record files, once; say whether there was something lost."""
    if store.meta(_WHOLE) is not None:
        return False
    known = any(True for _ in store.containers())
    tables.make(store.connection)
    with store.transaction():
        found = 0 if known else rebuild(store, settings, reason, aside)
        store.write_meta(_WHOLE, "yes")
    if reason is None and not found:
        return False
    journal.error(
        "state database rebuilt from record files",
        reason=reason or "it was missing or empty",
        records=found,
        kept=aside if reason else "nothing",
    )
    return True


def _put_aside(database: Path, aside: Path) -> None:
    journal.error("state database is damaged: it is kept aside, and made again", kept=aside)
    try:
        make_aside(aside)
        for suffix in reversed(_SUFFIXES):
            with suppress(FileNotFoundError):
                os.rename(f"{database}{suffix}", aside / f"{database.name}{suffix}")
    except OSError as error:
        kind = NoSpace if error.errno in _FULL else KernelFailure
        raise kind(
            f"the damaged state database cannot be moved to {aside}: {error.strerror}",
            hint="make room, or move it away by hand",
            errno=error.errno,
            path=str(aside),
        ) from error


def make_aside(aside: Path) -> None:
    """Make the directory for what is kept of this start. Raises OSError."""
    aside.parent.mkdir(mode=0o700, exist_ok=True)
    aside.mkdir(mode=0o700, exist_ok=True)
