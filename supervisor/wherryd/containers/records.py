"""Keeps the state database in step with the containers, also while it cannot be written.

A status that the disk refuses is held and tried again until it is written; what must happen only after it
is on record (the launcher forgetting an exit) waits for that.
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

RETRY_SECONDS = 0.5


class Records:
    """Writes containers' statuses. `run` is its task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unsaved: dict[Container, Callable[[], None] | None] = {}
        self._work = trio.Event()

    def add(self, container: Container) -> None:
        """Write a new container. Raises NoSpace."""
        self._store.add_container(
            container_id=container.id,
            name=container.name,
            config=container.config.to_json(),
            status=container.status_json(),
        )

    def save(self, container: Container, then: Callable[[], None] | None = None) -> None:
        """Write a container's status, now or as soon as the disk allows; then call `then`."""
        try:
            self._store.set_status(container.id, container.status_json())
        except NoSpace as error:
            journal.error("state not written, will try again", id=container.id, error=error)
            self._unsaved[container] = then or self._unsaved.get(container)
            self._work.set()
            return
        earlier = self._unsaved.pop(container, None)
        for call in (earlier, then):
            if call is not None:
                call()
        if self._store.checkpoint_due:
            self._work.set()

    def rename(self, container: Container, name: str) -> None:
        """Write a container's new name. Raises NoSpace."""
        self._store.set_name(container.id, name)

    def remove(self, container: Container) -> None:
        """Forget a container. Raises NoSpace."""
        self._store.remove_container(container.id)
        then = self._unsaved.pop(container, None)
        if then is not None:
            then()

    async def run(self) -> None:
        """Write what could not be written, and checkpoint the database, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            if self._store.checkpoint_due:
                await self._store.checkpoint()
            if self._unsaved:
                await trio.sleep(RETRY_SECONDS)
                for container in list(self._unsaved):
                    self.save(container)
