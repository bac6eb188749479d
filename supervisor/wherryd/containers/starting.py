"""Every way to a container's start: asked for, after what it requires, by its policy, for the first time.

Owns what is settled before a start and who is started first; the start itself is done by the task that will
own the run (supervise.py). A first start that fails leaves nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict
from wherryd.containers import ending, making
from wherryd.containers.launch import Launch
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.removal import remove_ended
from wherryd.containers.requirements import Required
from wherryd.containers.supervise import Start, supervise
from wherryd.containers.telling import tell
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.changes import Changes
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


class Starter:
    """Starts the containers of one supervisor, in their nursery. Everything raises WherryError."""

    def __init__(self, services: Services, nursery: trio.Nursery, changes: Changes) -> None:
        self._services = services
        self._nursery = nursery
        self._changes = changes

    async def first(self, container: Container, attachment: Attachment | None) -> None:
        """Start a container that was just made, and that nobody knows yet."""
        if container.config.spec.requires:
            container.provisional = True
            making.add(container, self._services)  # its name is taken meanwhile
            await self._changes.make(partial(self._first_after, container, attachment))
            return
        container.move(Event.START)
        making.reserve(container, self._services)
        await self._begin(container, attachment, first=True)

    async def start(self, container: Container, attachment: Attachment | None) -> None:
        """Start a created or ended container; returns when its command is executing."""
        if container.config.spec.requires and not container.alive:
            await self._changes.make(partial(self._start_after, container, attachment))
        else:
            await self._start_now(container, attachment)

    async def restart(self, container: Container, timeout: float | None) -> None:
        """Stop if running, then start."""
        await self._changes.make(partial(self._restart, container, timeout))

    async def make_ready(self, container: Container) -> None:
        """Have what a container requires up, as its restart policy wants."""
        await Required(container, self._services, self._start_after_by_policy, asked=False).ready()

    async def start_again(self, container: Container) -> None:
        """Start a container, as its restart policy wants; its phase changes before anything else happens."""
        self._settle_last_run(container)
        container.move(Event.START)
        await self._changes.count(partial(self._begin, container, None, again=True))

    async def _start_now(self, container: Container, attachment: Attachment | None) -> None:
        """Start a container because somebody wants it."""
        self._settle_last_run(container)
        container.move(Event.START)
        self._services.restarts.take_off(container)
        container.restart.clear()
        await self._begin(container, attachment)

    async def _start_after(self, container: Container, attachment: Attachment | None = None) -> None:
        """Do the same after what it requires."""
        await Required(container, self._services, self._start_after, asked=True).ready()
        await self._start_now(container, attachment)

    async def _start_after_by_policy(self, container: Container) -> None:
        await self.make_ready(container)
        await self._start_now(container, None)

    async def _first_after(self, container: Container, attachment: Attachment | None) -> None:
        try:
            await Required(container, self._services, self._start_after, asked=True).ready()
            container.move(Event.START)
        except BaseException:
            if container.phase is Phase.CREATED:
                remove_ended(container, self._services)
            raise
        await self._begin(container, attachment, first=True)

    async def _restart(self, container: Container, timeout: float | None) -> None:
        container.keep = True
        try:
            await ending.stop(container, self._services, timeout, for_good=False)
            if container.config.spec.requires:
                await self._start_after(container)
            else:
                await self._start_now(container, None)
            tell(container, self._services, "restart")
        finally:
            container.keep = False
            if not container.active:
                container.log.close()

    async def _begin(
        self,
        container: Container,
        attachment: Attachment | None,
        *,
        first: bool = False,
        again: bool = False,
    ) -> None:
        """Have the start of a container (phase STARTING) done by the task that will own its run."""
        container.started = trio.Event()
        container.provisional = first
        container.next_run()
        launch = Launch(container, self._services)
        launch.begin()
        start = Start(launch, attachment=attachment, first=first, again=again)
        start_soon(self._nursery, supervise, container, self._services, start)
        await start.outcome.wait()

    def _settle_last_run(self, container: Container) -> None:
        """Have the launcher forget the last run before it gets the next of the same id."""
        if not container.alive and not container.log.finished:
            reason = container.log_trouble or "its disk is slow"
            raise Conflict(f"container {container.name} has output that is not in its log yet: {reason}")
        if container.exit is not None:
            self._services.records.flush()
