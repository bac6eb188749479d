"""Everything a request can ask of containers. No sockets: it checks, moves, and waits.

A change runs in the containers' nursery, so that a client that hangs up in the middle of it changes nothing.
"""

from __future__ import annotations

import dataclasses
import errno
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, InternalError, KernelFailure, NotFound, WherryError
from wherryd import journal
from wherryd.containers import config, filters, mounting, names
from wherryd.containers.cgroup import freeze, kill_all
from wherryd.containers.container import Container
from wherryd.containers.freezing import let_go
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.removal import remove
from wherryd.containers.supervise import Start, supervise
from wherryd.containers.telling import tell
from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import pidfd_send_signal
from wherryd.tasks import detached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from wherry_protocol.containers import ContainerDetails, ContainerSummary, ExitStatus, RunSpec
    from wherry_protocol.system import Progress
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.services import Services

KILL_TIMEOUT = 15.0
"""Seconds for a container to end after SIGKILL; longer means that it is stuck in the kernel."""


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
        container = await self._make(spec, None)
        self._add(container)
        return container

    async def run(
        self,
        spec: RunSpec,
        progress: Callable[[Progress], None] | None = None,
        attachment: Attachment | None = None,
    ) -> Container:
        """Create and start. A start that fails leaves nothing."""
        container = await self._make(spec, progress)
        container.move(Event.START)
        self._add(container)
        await self._start(container, attachment, first=True)
        return container

    async def dry_run(self, spec: RunSpec) -> str:
        """Return the plan of a run as text; nothing is made, but a new archive is unpacked."""
        config.check_spec(spec)
        if spec.volumes or spec.volumes_from:
            await mounting.check(spec, self.services)
        image = await self.services.images.resolve(spec.image, spec.base_dir)
        container_id = names.new_id()
        mounts = mounting.preview(spec, image, self.services)
        resolved = config.resolve(spec, image, container_id, mounts)
        return self.services.plan_of(container_id, resolved).describe()

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
        await self._change(partial(self._stop, container, timeout))
        return self.ending(container)

    def kill(self, reference: str, text: str) -> None:
        """Send a signal, by name or number, to the first process."""
        container = self.find(reference)
        number = config.signal_number(text)
        self._signal(container, number)

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
            await self._change(partial(self._force_end, container))
            await container.readers.cut_off()  # some may have come while it ended
        if self.services.registry.get(container.id) is container:
            remove(container, self.services)
            if volumes:
                mounting.drop_volumes(container, self.services)

    # -- changing -------------------------------------------------------------------------------------------

    async def pause(self, reference: str) -> None:
        """Freeze every process; returns when all are. Raises Conflict also when it was stopped meanwhile."""
        container = self.find(reference)
        container.move(Event.PAUSE)
        try:
            await freeze(self.services.cgroup_of(container.id), lambda: container.phase is Phase.PAUSED)
        except BaseException:
            if container.phase is Phase.PAUSED:
                container.move(Event.UNPAUSE)
                let_go(container, self.services)
            raise
        if container.phase is not Phase.PAUSED:
            raise Conflict(f"container {container.name} was stopped or unpaused before it stood still")
        self.services.health.paused(container)
        tell(container, self.services, "pause")
        self.services.records.save(container)

    def unpause(self, reference: str) -> None:
        """Thaw a paused container."""
        container = self.find(reference)
        container.move(Event.UNPAUSE)
        let_go(container, self.services)
        tell(container, self.services, "unpause")
        self.services.records.save(container)

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

    def update(
        self,
        reference: str,
        *,
        labels: Mapping[str, str],
        remove_labels: Sequence[str],
        stop_signal: str | None,
        stop_timeout: float | None,
    ) -> None:
        """Change what may change of a container's configuration, at once. Raises BadRequest, NoSpace."""
        container = self.find(reference)
        before = container.config
        container.config = config.changed(
            before,
            labels=labels,
            remove_labels=remove_labels,
            stop_signal=stop_signal,
            stop_timeout=stop_timeout,
        )
        try:
            self.services.records.set_config(container)
        except BaseException:
            container.config = before
            raise
        tell(container, self.services, "update")

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
            await self._stop(container, None)
        except WherryError as error:
            journal.error("container not stopped", id=container.id, error=error)

    async def _make(self, spec: RunSpec, progress: Callable[[Progress], None] | None) -> Container:
        config.check_spec(spec)
        if spec.name is not None:
            self.services.registry.check_free(spec.name)
        if spec.volumes or spec.volumes_from:
            await mounting.check(spec, self.services)
        image = await self.services.images.resolve(spec.image, spec.base_dir, progress)
        container_id = names.new_id()
        settled = config.resolve(spec, image, container_id)
        made: tuple[str, ...] = ()
        if mounting.mounts_anything(spec, image):
            mounts, made = await mounting.provide(spec, image, self.services)
            settled = dataclasses.replace(settled, mounts=mounts)
        container = Container(
            container_id=container_id,
            name=spec.name or names.new_name(self.services.registry.names),
            config=settled,
            directory=self.services.settings.containers_dir / container_id,
            created_at=time.time(),
        )
        container.made_volumes = made
        return container

    def _add(self, container: Container) -> None:
        try:
            self.services.registry.add(container)
            self.services.records.add(container)
        except BaseException:
            self.services.registry.discard(container)
            self.services.volumes.withdraw(container.made_volumes)
            raise
        tell(container, self.services, "create")

    async def _start(
        self, container: Container, attachment: Attachment | None, *, first: bool = False
    ) -> None:
        """Have the start of a container (phase STARTING) done by the task that will own its run."""
        container.started = trio.Event()
        if container.ended.is_set():
            container.ended = trio.Event()
        start = Start(attachment=attachment, first=first)
        self._nursery.start_soon(supervise, container, self.services, start)
        await start.outcome.wait()

    async def _restart(self, container: Container, timeout: float | None) -> None:
        container.keep = True
        try:
            await self._stop(container, timeout)
            self._settle_last_run(container)
            container.move(Event.START)
            await self._start(container, None)
            tell(container, self.services, "restart")
        finally:
            container.keep = False

    async def _stop(self, container: Container, timeout: float | None) -> None:
        if container.phase is Phase.STARTING:
            await container.started.wait()
        if not container.alive:
            return
        container.stopping = True
        seconds = container.config.spec.stop_timeout if timeout is None else timeout
        if seconds != 0:
            self._signal(container, container.config.stop_signal)
            if container.phase is Phase.PAUSED:
                self.unpause(container.id)
        with trio.move_on_after(seconds if seconds >= 0 else float("inf")):
            await container.ended.wait()
            return
        await self._kill_all(container)

    async def _force_end(self, container: Container) -> None:
        if container.phase is Phase.STARTING:
            await container.started.wait()
        if container.readers:
            await container.readers.cut_off()
        if container.alive:
            await self._kill_all(container)

    async def _kill_all(self, container: Container) -> None:
        kill_all(self.services.cgroup_of(container.id))
        tell(container, self.services, "kill", {"signal": str(int(signal.SIGKILL))})
        with trio.move_on_after(KILL_TIMEOUT):
            await container.ended.wait()
            return
        raise InternalError(
            f"container {container.name} is stuck: it did not end {KILL_TIMEOUT:.0f} s after SIGKILL",
            hint="a process waits in the kernel, often for a dead file system: see 'ps -eo pid,stat,wchan'",
        )

    def _settle_last_run(self, container: Container) -> None:
        """Have the launcher forget the last run before it gets the next of the same id."""
        if container.phase is Phase.EXITED and not container.log.finished:
            raise Conflict(
                f"container {container.name} has output that the full disk has not taken yet",
                hint="free some space first",
            )
        if container.exit is not None:
            self.services.records.flush()

    def _signal(self, container: Container, number: int) -> None:
        run = container.run
        if run is None or not container.alive:
            raise Conflict(f"container {container.name} is not running", hint="see 'wherry ps -a'")
        try:
            pidfd_send_signal(run.pidfd, number)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise KernelFailure(str(error), errno=error.errno) from error
            # It has ended; its task is about to record that.
            journal.debug("signal came after the end", id=container.id, signal=number)
        else:
            tell(container, self.services, "kill", {"signal": str(number)})

    def ending(self, container: Container) -> ExitStatus:
        """Return how a container's last run ended."""
        if container.exit is None:
            raise NotFound(f"container {container.name} was removed before it ever ran")
        return container.exit
