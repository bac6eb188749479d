"""Everything a request can ask of containers. No sockets: it checks, moves, and waits.

A change runs in the containers' nursery, so that a client that hangs up in the middle of it changes nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, NotFound, WherryError
from wherryd import journal
from wherryd.containers import config, ending, filters, freezing, making, mounting, names, updating
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.removal import remove
from wherryd.containers.supervise import Launch, Start, supervise
from wherryd.containers.telling import tell
from wherryd.tasks import detached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry_protocol.containers import ContainerDetails, ContainerSummary, ExitStatus, RunSpec
    from wherry_protocol.housekeeping import Update
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
        self._settle_last_run(container)
        container.move(Event.START)
        await self._start(container, attachment)
        return container

    # -- ending ---------------------------------------------------------------------------------------------

    async def stop(self, reference: str, timeout: float | None) -> ExitStatus:
        """Stop signal, `timeout` seconds, SIGKILL. Returns how it ended; at once when it has."""
        container = self.find(reference)
        if container.phase is Phase.CREATED:
            raise Conflict(f"container {container.name} was never started: there is nothing to stop")
        if timeout is not None:
            config.check_timeout(timeout)
        await self._change(partial(ending.stop, container, self.services, timeout))
        return self.ending(container)

    def kill(self, reference: str, text: str) -> None:
        """Send a signal, by name or number, to the first process."""
        container = self.find(reference)
        number = config.signal_number(text)
        ending.send_signal(container, self.services, number)

    async def restart(self, reference: str, timeout: float | None) -> None:
        """Stop if running, then start."""
        container = self.find(reference)
        if timeout is not None:
            config.check_timeout(timeout)
        await self._change(partial(self._restart, container, timeout))

    async def wait(self, reference: str) -> ExitStatus:
        """Return how the container ended, when it has."""
        container = self.find(reference)
        await container.ended.wait()
        return self.ending(container)

    async def remove(self, reference: str, *, force: bool, volumes: bool = False) -> None:
        """Remove an ended container, with `force` a running one too; `volumes`: and its anonymous ones."""
        container = self.find(reference)
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
        self.services.registry.rename(container, name)
        tell(container, self.services, "rename", {"oldName": before})
        try:
            self.services.records.rename(container, name)
        except BaseException:
            self.services.events.retract()
            self.services.registry.rename(container, before)
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
        """Stop every container that runs, all at once, within `seconds`."""
        with trio.move_on_after(seconds) as scope:
            async with trio.open_nursery() as nursery:
                for container in self.services.registry:
                    if container.alive:
                        nursery.start_soon(self._stop_or_tell, container)
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
        rows = (c.summary() for c in reversed(tuple(self.services.registry)) if every or c.alive)
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
            await ending.stop(container, self.services, None)
        except WherryError as error:
            journal.error("container not stopped", id=container.id, error=error)

    async def _start(
        self, container: Container, attachment: Attachment | None, *, first: bool = False
    ) -> None:
        """Have the start of a container (phase STARTING) done by the task that will own its run."""
        container.started = trio.Event()
        container.provisional = first
        if container.ended.is_set():
            container.ended = trio.Event()
        launch = Launch(container, self.services)
        launch.begin()
        start = Start(launch, attachment=attachment, first=first)
        self._nursery.start_soon(supervise, container, self.services, start)
        await start.outcome.wait()

    async def _restart(self, container: Container, timeout: float | None) -> None:
        container.keep = True
        try:
            await ending.stop(container, self.services, timeout)
            self._settle_last_run(container)
            container.move(Event.START)
            await self._start(container, None)
            tell(container, self.services, "restart")
        finally:
            container.keep = False

    def _settle_last_run(self, container: Container) -> None:
        """Have the launcher forget the last run before it gets the next of the same id."""
        if container.phase is Phase.EXITED and not container.log.finished:
            raise Conflict(
                f"container {container.name} has output that the full disk has not taken yet",
                hint="free some space first",
            )
        if container.exit is not None:
            self.services.records.flush()

    def ending(self, container: Container) -> ExitStatus:
        """Return how a container's last run ended."""
        if container.exit is None:
            raise NotFound(f"container {container.name} was removed before it ever ran")
        return container.exit
