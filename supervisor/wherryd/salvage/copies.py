"""Writes the record files: soon after the database, many at once, off the event loop.

Nobody waits for it, and what is gone again by then is never written: a container that lives for milliseconds
costs an entry in a set. Must never fail a request.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.salvage import recordfile, tables

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.store import Store

FOLLOW_SECONDS = 0.5
"""How long a change waits for company."""

RETRY_SECONDS = 5.0
"""Between tries while a file cannot be written."""

AT_ONCE = 50
"""Containers whose records are made in one go: some 10 ms of the event loop."""

TABLES = "tables"
"""The file that has them; every other one is a container's."""

_FOLLOWED = "copies_followed"


def body_of(container: Container) -> dict[str, object]:
    """Return what a container's record file says: the row that the database has."""
    return {
        "id": container.id,
        "name": container.name,
        "config": container.config.to_json(),
        "status": container.status_json(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file to be written, or (data None) removed. `container` None: the tables' one."""

    container: Container | None
    path: str
    data: bytes | None


class Copies:
    """The copies of one supervisor's state, in `directory`. `run` is its task, `finish` its end."""

    def __init__(self, directory: Path, store: Store, registry: Registry) -> None:
        self._directory = str(directory)
        self._store = store
        self._registry = registry
        self._changed: set[Container] = set()
        self._there: set[str] = set()
        self._tables_changed = True
        self._troubled = False
        self._work = trio.Event()

    def begin(self) -> None:
        """Follow the database from now on; after a crash, every container's file may have stayed behind."""
        tables.watch(self._store.connection, self._note_tables)
        self._there.update(os.listdir(self._directory))
        for name in self._there - {TABLES, *(container.id for container in self._registry)}:
            os.unlink(f"{self._directory}/{name}")
        if self._store.meta(_FOLLOWED) != "yes":
            self._changed.update(self._registry)
        self._store.set_meta(_FOLLOWED, "no")
        self._work.set()

    def note(self, container: Container) -> None:
        """Have a container's file follow what was just written of it."""
        self._changed.add(container)
        self._work.set()

    def _note_tables(self) -> None:
        self._tables_changed = True
        self._work.set()

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await trio.sleep(RETRY_SECONDS if self._troubled else FOLLOW_SECONDS)
            while files := self._take():
                self._settle(files, await trio.to_thread.run_sync(_write_all, files))
                if self._troubled:
                    self._work.set()
                    break

    def finish(self) -> None:
        """Write what is left, and take note that nothing is. Raises NoSpace."""
        while files := self._take():
            self._settle(files, _write_all(files))
            if self._troubled:
                return
        self._store.set_meta(_FOLLOWED, "yes")

    def _take(self) -> list[_File]:
        """Return the next files to write."""
        files: list[_File] = []
        if self._tables_changed:
            self._tables_changed = False
            data = recordfile.encode(tables.dump(self._store.connection))
            files.append(_File(container=None, path=f"{self._directory}/{TABLES}", data=data))
        while self._changed and len(files) < AT_ONCE:
            container = self._changed.pop()
            path = f"{self._directory}/{container.id}"
            if self._registry.get(container.id) is container:
                self._there.add(container.id)
                files.append(
                    _File(container=container, path=path, data=recordfile.encode(body_of(container)))
                )
            elif container.id in self._there:
                self._there.discard(container.id)
                files.append(_File(container=container, path=path, data=None))
        return files

    def _settle(self, files: list[_File], errors: list[OSError | None]) -> None:
        """Keep what failed for another try; tell the first time."""
        failed = [(file, error) for file, error in zip(files, errors, strict=True) if error is not None]
        for file, _ in failed:
            self._tables_changed |= file.container is None
            if file.container is not None:
                self._changed.add(file.container)
                self._there.add(file.container.id)
        if failed and not self._troubled:
            journal.warning("record not written, trying again", path=failed[0][0].path, error=failed[0][1])
        self._troubled = bool(failed)


def _write_all(files: list[_File]) -> list[OSError | None]:
    return [_write(file) for file in files]


def _write(file: _File) -> OSError | None:
    try:
        if file.data is None:
            os.unlink(file.path)
        else:
            recordfile.write(file.path, file.data)
    except FileNotFoundError:
        return None  # removed by hand: what is written next is there again
    except OSError as error:
        return error
    return None
