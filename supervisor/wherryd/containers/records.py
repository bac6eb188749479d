"""Keeps the state database in step with the containers, at little cost and also while it cannot be written.

What reserves (a new container) or what a user was told is done (a removal he asked for) is written at once.
The rest is written soon, many changes in one commit: should we die before, the launcher still has the truth,
as it is told to forget a run only after the run's end is on record (`then`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import NoSpace
from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.containers.container import Container
    from wherryd.store import Store

FLUSH_SECONDS = 0.05
"""How long a change waits for company."""

RETRY_SECONDS = 0.5
"""Between tries while the disk is full."""


class _Change:
    """What is to be written of one container, and what to call when it is."""

    def __init__(self) -> None:
        self.removed = False
        self.then: list[Callable[[], None]] = []


class Records:
    """Writes containers. `run` is its task; `flush` writes what is left at the end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes: dict[Container, _Change] = {}
        self._work = trio.Event()

    def add(self, container: Container) -> None:
        """Write a new container, at once. Raises NoSpace, and then nothing is written."""
        with self._store.transaction():
            # What waits may free the very name.
            self._write_changes()
            self._store.add_container(
                container_id=container.id,
                name=container.name,
                config=container.config.to_json(),
                status=container.status_json(),
            )
        self._written()

    def save(self, container: Container, then: Callable[[], None] | None = None) -> None:
        """Write a container's status soon; then call `then`."""
        self._note(container, then)

    def rename(self, container: Container, name: str) -> None:
        """Write a container's new name, at once. Raises NoSpace."""
        with self._store.transaction():
            self._write_changes()
            self._store.set_name(container.id, name)
        self._written()

    def remove(self, container: Container, then: Callable[[], None]) -> None:
        """Forget a container, at once; then call `then`. Raises NoSpace, and then nothing has changed."""
        with self._store.transaction():
            self._store.remove_container(container.id)
        earlier = self._changes.pop(container, None)
        for call in (*(earlier.then if earlier else ()), then):
            call()

    def remove_soon(self, container: Container, then: Callable[[], None]) -> None:
        """Forget a container that ended, soon; then call `then`."""
        self._note(container, then).removed = True

    def flush(self) -> None:
        """Write everything that waits. Raises NoSpace."""
        if self._changes:
            with self._store.transaction():
                self._write_changes()
            self._written()

    async def run(self) -> None:
        """Write what waits, and checkpoint the database, until cancelled."""
        troubled = False
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await trio.sleep(RETRY_SECONDS if troubled else FLUSH_SECONDS)
            try:
                self.flush()
            except NoSpace as error:
                if not troubled:
                    journal.error("state not written, trying again", error=error)
                troubled = True
                self._work.set()
                continue
            if troubled:
                journal.info("state is written again")
            troubled = False
            if self._store.checkpoint_due:
                await self._store.checkpoint()

    def _note(self, container: Container, then: Callable[[], None] | None) -> _Change:
        change = self._changes.get(container)
        if change is None:
            change = self._changes[container] = _Change()
        if then is not None:
            change.then.append(then)
        self._work.set()
        return change

    def _write_changes(self) -> None:
        for container, change in self._changes.items():
            if change.removed:
                self._store.remove_container(container.id)
            else:
                self._store.set_status(container.id, container.status_json())

    def _written(self) -> None:
        changes, self._changes = self._changes, {}
        for change in changes.values():
            for call in change.then:
                call()
