"""Everything a request can ask of containers. No sockets: it checks, moves, and waits.

A change runs in the containers' nursery, so that a client that hangs up in the middle of it changes nothing.
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
from wherryd.containers.launch import Launch
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.removal import remove, remove_ended
from wherryd.containers.supervise import Start, supervise
from wherryd.containers.telling import tell
from wherryd.tasks import detached, start_soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
    from wherry_protocol.housekeeping import Update
    from wherry_protocol.run_spec import RunSpec
    from wherry_protocol.system import Progress
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


class Manager:
    """The containers of one supervisor, as requests see them."""

    def __init__(self, services: Services, nursery: trio.Nursery) -> None:
        self.services = services
        self._nursery = nursery
        self._changing = 0
        self._idle = trio.lowlevel.ParkingLot()

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
        if container.config.spec.requires:
            return await self._run_after(container, attachment)
        container.move(Event.START)
        making.reserve(container, self.services)
        await self._start(container, attachment, first=True)
        return container

    async def dry_run(self, spec: RunSpec) -> str:
        """Return the plan of a run as text; nothing is made, but a new archive is unpacked."""
        return await making.preview(spec, self.services)

    async def start(self, reference: str, attachment: Attachment | None = None) -> Container:
        """Start a created or ended container; returns when its command is executing."""
        container = self.find(reference)
        if container.config.spec.requires and not container.alive:
            await self._change(partial(self._start_after, container, attachment))
        else:
            await self._start_now(container, attachment)
        return container

    async def make_ready(self, container: Container) -> None:
        """Have what a container requires up, as its restart policy wants. Raises WherryError."""
        start = self._start_after_by_policy
        await requirements.Required(container, self.services, start, asked=False).ready()

    async def start_again(self, container: Container) -> None:
        """Start a container, as its restart policy wants. Raises WherryError."""
        self._settle_last_run(container)
        container.move(Event.START)
        await self._counted(partial(self._start, container, None, again=True))

    # -- ending ---------------------------------------------------------------------------------------------

    async def stop(self, reference: str, timeout: float | None) -> ExitStatus:
        """Stop signal, `timeout` seconds, SIGKILL. Returns how it ended; at once when it has."""
        container = self.find(reference)
        if container.phase is Phase.CREATED:
            raise Conflict(f"container {container.name} was never started: there is nothing to stop")
        if timeout is not None:
            config.check_timeout(timeout)
        over = container.ended
        await self._change(partial(ending.stop, container, self.services, timeout))
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
        await self._change(partial(self._restart, container, timeout))

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
            await self._change(partial(ending.force, container, self.services))
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
        await self._change(partial(updating.update, container, self.services, wanted))

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

    async def wait_idle(self) -> None:
        """Wait until no change is under way."""
        while self._changing:
            await self._idle.park()

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

    # -- the changes themselves, in the containers' nursery --------------------------------------------------

    async def _change(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a change to its end, also when the client that asked for it is gone."""
        await detached(self._nursery, partial(self._counted, function))

    async def _counted(self, function: Callable[[], Awaitable[None]]) -> None:
        self._changing += 1
        try:
            await function()
        finally:
            self._changing -= 1
            self._idle.unpark_all()

    async def _stop_or_tell(self, container: Container) -> None:
        try:
            await ending.stop(container, self.services, None, for_good=False)
        except WherryError as error:
            journal.error("container not stopped", id=container.id, error=error)

    async def _start_now(self, container: Container, attachment: Attachment | None) -> None:
        """Start a container because somebody wants it."""
        self._settle_last_run(container)
        container.move(Event.START)
        self.services.restarts.take_off(container)
        container.restart.clear()
        await self._start(container, attachment)

    async def _start_after(self, container: Container, attachment: Attachment | None = None) -> None:
        """Do the same after what it requires."""
        await requirements.Required(container, self.services, self._start_after, asked=True).ready()
        await self._start_now(container, attachment)

    async def _start_after_by_policy(self, container: Container) -> None:
        await requirements.Required(
            container, self.services, self._start_after_by_policy, asked=False
        ).ready()
        await self._start_now(container, None)

    async def _run_after(self, container: Container, attachment: Attachment | None) -> Container:
        """Do as `run`, after what the container requires; its name is taken meanwhile."""
        container.provisional = True
        making.add(container, self.services)
        await self._change(partial(self._first_after, container, attachment))
        return container

    async def _first_after(self, container: Container, attachment: Attachment | None) -> None:
        try:
            await requirements.Required(container, self.services, self._start_after, asked=True).ready()
            container.move(Event.START)
        except BaseException:
            if container.phase is Phase.CREATED:
                remove_ended(container, self.services)
            raise
        await self._start(container, attachment, first=True)

    async def _start(
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
        launch = Launch(container, self.services)
        launch.begin()
        start = Start(launch, attachment=attachment, first=first, again=again)
        start_soon(self._nursery, supervise, container, self.services, start)
        await start.outcome.wait()

    async def _restart(self, container: Container, timeout: float | None) -> None:
        container.keep = True
        try:
            await ending.stop(container, self.services, timeout, for_good=False)
            if container.config.spec.requires:
                await self._start_after(container)
            else:
                await self._start_now(container, None)
            tell(container, self.services, "restart")
        finally:
            container.keep = False
            if not container.active:
                container.log.close()

    def _settle_last_run(self, container: Container) -> None:
        """Have the launcher forget the last run before it gets the next of the same id."""
        if not container.alive and not container.log.finished:
            reason = container.log_trouble or "its disk is slow"
            raise Conflict(f"container {container.name} has output that is not in its log yet: {reason}")
        if container.exit is not None:
            self.services.records.flush()


def told(status: ExitStatus | None, container: Container) -> ExitStatus:
    """Return how a run ended. Raises NotFound when there was none."""
    if status is None:
        raise NotFound(f"container {container.name} was removed before it ever ran")
    return status
