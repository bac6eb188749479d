"""Keeps the state database in step with the containers, at little cost and also while it cannot be written.

What reserves (a new container) or what a user was told is done (a removal he asked for) is written at once.
The rest is written soon, many changes in one commit: should we die before, the launcher still has the truth,
as it is told to forget a run only after the run's end is on record (`then`).

Events are written in the same commit as the changes they tell of: neither is ever there without the other.
Only a new container, which a run waits for, comes before its event; its row says so until that has followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import NoSpace
from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherryd.containers.container import Container
    from wherryd.events.log import EventLog
    from wherryd.store import Store

FLUSH_SECONDS = 0.05
"""How long a change waits for company."""

WATCHED_SECONDS = 0.005
"""The same while somebody reads events."""

RETRY_SECONDS = 0.5
"""Between tries while the disk is full."""


class _Change:
    """What is to be written of one container, and what to call when it is."""

    def __init__(self) -> None:
        self.removed = False
        self.then: list[Callable[[], None]] = []


class Records:
    """Writes containers. `run` is its task; `flush` writes what is left at the end."""

    def __init__(self, store: Store, events: EventLog) -> None:
        self._store = store
        self._events = events
        self._changes: dict[Container, _Change] = {}
        self._work = trio.Event()
        self.on_written: Callable[[Container], None] = _nobody_copies
        """Hears of every container whose row was written or removed."""
        events.on_emit = self._wake

    def add(self, container: Container) -> None:
        """Write a new container, at once. Raises NoSpace, and then nothing is written."""
        frees_name = any(
            change.removed and each.name == container.name for each, change in self._changes.items()
        )
        if frees_name:
            self.flush()
        with self._store.transaction():
            self._store.add_container(
                container_id=container.id,
                name=container.name,
                config=container.config.to_json(),
                status={**container.status_json(), "untold": True},
            )
        self._note(container, None)

    def save(self, container: Container, then: Callable[[], None] | None = None) -> None:
        """Write a container's status soon; then call `then`."""
        self._note(container, then)

    def rename(self, container: Container, name: str, others: Iterable[Container] = ()) -> None:
        """Write a container's new name, and the configurations of `others`, at once. Raises NoSpace."""
        with self._store.transaction():
            self._write_changes()
            self._store.set_name(container.id, name)
            for each in others:
                self._store.set_config(each.id, each.config.to_json())
        self._written()
        for each in (container, *others):
            self.on_written(each)

    def set_config(self, container: Container) -> None:
        """Write a container's changed configuration, at once. Raises NoSpace."""
        with self._store.transaction():
            self._write_changes()
            self._store.set_config(container.id, container.config.to_json())
        self._written()
        self.on_written(container)

    def remove(self, container: Container, then: Callable[[], None]) -> None:
        """Forget a container, at once; then call `then`. Raises NoSpace, and then nothing has changed."""
        with self._store.transaction():
            self._write_changes()
            self._store.remove_container(container.id)
        self._written()
        self.on_written(container)
        then()

    def remove_soon(self, container: Container, then: Callable[[], None]) -> None:
        """Forget a container that ended, soon; then call `then`."""
        self._note(container, then).removed = True

    def flush(self) -> None:
        """Write everything that waits. Raises NoSpace."""
        if self._changes or self._events.waiting:
            with self._store.transaction():
                self._write_changes()
            self._written()

    async def run(self) -> None:
        """Write what waits, and checkpoint the database, until cancelled."""
        troubled = False
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await trio.sleep(RETRY_SECONDS if troubled else self._patience)
            try:
                self.flush()
            except NoSpace as error:
                if not troubled:
                    journal.error("state not written, trying again", error=error)
                troubled = True
                self._events.set_stuck(True)
                self._work.set()
                continue
            if troubled:
                journal.info("state is written again")
            troubled = False
            self._events.set_stuck(False)
            if self._store.checkpoint_due:
                await self._store.checkpoint()

    @property
    def _patience(self) -> float:
        return WATCHED_SECONDS if self._events.readers else FLUSH_SECONDS

    def _wake(self) -> None:
        self._work.set()

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
        self._events.write()

    def _written(self) -> None:
        changes, self._changes = self._changes, {}
        self._events.written()
        for container, change in changes.items():
            self.on_written(container)
            for call in change.then:
                call()


def _nobody_copies(container: Container) -> None:
    """Before there are copies: they look at every container when they begin."""
