"""Everything a request can ask of containers, by the names that requests have for them.

Owns what is checked before anything is touched. No sockets, no tasks: starting.py starts, and what takes
long is a change (changes.py), which a client that hangs up in the middle does not end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, NotFound, WherryError
from wherryd import journal
from wherryd.containers import (
    config,
    ending,
    filters,
    freezing,
    making,
    mounting,
    names,
    requirements,
    updating,
)
from wherryd.containers.lifecycle import Phase
from wherryd.containers.removal import remove
from wherryd.containers.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
    from wherry_protocol.housekeeping import Update
    from wherry_protocol.run_spec import RunSpec
    from wherry_protocol.system import Progress
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.changes import Changes
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.containers.starting import Starter


class Manager:
    """The containers of one supervisor, as requests see them."""

    def __init__(self, services: Services, starter: Starter, changes: Changes) -> None:
        self.services = services
        self._starter = starter
        self._changes = changes

    # -- making ---------------------------------------------------------------------------------------------

    async def create(self, spec: RunSpec) -> Container:
        """Make a container (phase CREATED). Raises BadRequest, Conflict, ImageError, NoSpace."""
        container = await making.make(spec, self.services)
        making.add(container, self.services)
        return container

    async def run(
        self,
        spec: RunSpec,
        progress: Callable[[Progress], None] | None = None,
        attachment: Attachment | None = None,
    ) -> Container:
        """Create and start. A start that fails leaves nothing."""
        container = await making.make(spec, self.services, progress)
        await self._starter.first(container, attachment)
        return container

    async def dry_run(self, spec: RunSpec) -> str:
        """Return the plan of a run as text; nothing is made, but a new archive is unpacked."""
        return await making.preview(spec, self.services)

    async def start(self, reference: str, attachment: Attachment | None = None) -> Container:
        """Start a created or ended container; returns when its command is executing."""
        container = self.find(reference)
        await self._starter.start(container, attachment)
        return container

    # -- ending ---------------------------------------------------------------------------------------------

    async def stop(self, reference: str, timeout: float | None) -> ExitStatus:
        """Stop signal, `timeout` seconds, SIGKILL. Returns how it ended; at once when it has."""
        container = self.find(reference)
        if container.phase is Phase.CREATED:
            raise Conflict(f"container {container.name} was never started: there is nothing to stop")
        if timeout is not None:
            config.check_timeout(timeout)
        over = container.ended
        await self._changes.make(partial(ending.stop, container, self.services, timeout))
        return told(over.status or container.exit, container)

    def kill(self, reference: str, text: str) -> None:
        """Send a signal, by name or number, to the first process."""
        container = self.find(reference)
        number = config.signal_number(text)
        ending.kill(container, self.services, number)

    async def restart(self, reference: str, timeout: float | None) -> None:
        """Stop if running, then start."""
        container = self.find(reference)
        if timeout is not None:
            config.check_timeout(timeout)
        await self._starter.restart(container, timeout)

    async def wait(self, reference: str) -> ExitStatus:
        """Return how the container ended, when it has."""
        container = self.find(reference)
        over = container.ended
        await over.wait()
        return told(over.status, container)

    async def remove(self, reference: str, *, force: bool, volumes: bool = False) -> None:
        """Remove an ended container, with `force` a running one too; `volumes`: and its anonymous ones."""
        container = self.find(reference)
        if not force:
            requirements.check_unrequired(container, self.services.registry)
        if force:
            await self._changes.make(partial(ending.force, container, self.services))
            await container.readers.cut_off()  # some may have come while it ended
        if self.services.registry.get(container.id) is container:
            remove(container, self.services)
            if volumes:
                mounting.drop_volumes(container, self.services)

    # -- changing -------------------------------------------------------------------------------------------

    async def pause(self, reference: str) -> None:
        """Freeze every process; returns when all are. Raises Conflict also when it was stopped meanwhile."""
        await freezing.pause(self.find(reference), self.services)

    def unpause(self, reference: str) -> None:
        """Thaw a paused container."""
        freezing.unpause(self.find(reference), self.services)

    def rename(self, reference: str, name: str) -> None:
        """Give a container another name."""
        container = self.find(reference)
        names.check_name(name)
        if name == container.name:
            raise Conflict(f"container {name} has that name already")
        before = container.name
        registry = self.services.registry
        registry.check_free(name)
        requirements.check_rename(container, name, registry)
        registry.rename(container, name)
        dependents = requirements.follow_rename(before, name, registry)
        tell(container, self.services, "rename", {"oldName": before})
        try:
            self.services.records.rename(container, name, dependents)
        except BaseException:
            self.services.events.retract()
            registry.rename(container, before)
            requirements.follow_rename(name, before, registry)
            raise

    async def update(self, reference: str, wanted: Update) -> None:
        """Change what may change of a container, at once. Raises as `updating` says."""
        container = self.find(reference)
        await self._changes.make(partial(updating.update, container, self.services, wanted))

    def close_stdin(self, reference: str) -> None:
        """Give the container end of file on standard input."""
        container = self.find(reference)
        if not container.config.spec.stdin or container.config.spec.tty:
            raise Conflict(f"container {container.name} has no standard input pipe")
        if container.run is not None:
            container.run.close_stdin()
            self.services.launcher.close_stdin(container.id)

    async def stop_all(self, seconds: float) -> None:
        """Stop every container that runs within `seconds`: all at once, but none before what requires it.

        Their restart policies start them with the next supervisor.
        """
        self.services.restarts.close()
        alive = [container for container in self.services.registry if container.alive]
        with trio.move_on_after(seconds) as scope:
            await requirements.in_reverse(alive, self.services.registry, self._stop_or_tell)
        if scope.cancelled_caught:
            journal.error("not every container could be stopped", seconds=seconds)

    # -- looking --------------------------------------------------------------------------------------------

    def find(self, reference: str) -> Container:
        """Return the container that a name, id or id prefix means."""
        return self.services.registry.find(reference)

    def inspect(self, reference: str) -> ContainerDetails:
        """Return everything known of a container."""
        container = self.find(reference)
        return container.details(str(self.services.cgroup_of(container.id)))

    def list(self, wanted: tuple[tuple[str, str], ...], *, every: bool) -> tuple[ContainerSummary, ...]:
        """Return the rows of `ps`, newest first."""
        filters.check(wanted)
        every = every or any(key in ("status", "exited") for key, _ in wanted)
        rows = (c.summary() for c in reversed(tuple(self.services.registry)) if every or c.active)
        return tuple(row for row in rows if filters.matches(row, wanted))

    def user_of_image(self, digest: str) -> str | None:
        """Return the name of a container that is made from the image, if there is one."""
        for container in self.services.registry:
            if container.config.image.digest == digest:
                return container.name
        return None

    def users_of_image(self, digest: str) -> tuple[str, ...]:
        """Return the names of the containers that are made from the image."""
        return tuple(c.name for c in self.services.registry if c.config.image.digest == digest)

    async def _stop_or_tell(self, container: Container) -> None:
        try:
            await ending.stop(container, self.services, None, for_good=False)
        except WherryError as error:
            journal.error("container not stopped", id=container.id, error=error)


def told(status: ExitStatus | None, container: Container) -> ExitStatus:
    """Return how a run ended. Raises NotFound when there was none."""
    if status is None:
        raise NotFound(f"container {container.name} was removed before it ever ran")
    return status
