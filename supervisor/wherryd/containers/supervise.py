"""The one task that owns a container's run, from its start to the record of its end.

    launch   until the command executes      see launch.py
    watch    exit from the launcher → last process gone → OOM counts → pipes drained      see run_end.py
    record   exit written to the state database → only then the launcher may forget it, and its groups go

Nothing that a client does reaches this task: requests signal the container and wait for `container.ended`.
When the supervisor shuts down the task is cancelled and the container goes on: the launcher holds it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.container_state import ExitStatus
from wherry_protocol.errors import InternalError, WherryError
from wherryd import journal, no_memory
from wherryd.containers.launch import Launch, attach
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.oom_verdict import OomState
from wherryd.containers.removal import remove_ended
from wherryd.containers.run_end import end_of
from wherryd.containers.telling import tell, tell_end
from wherryd.events.log import NO_FACTS
from wherryd.kernel import failpoints
from wherryd.shortage import refusal, until_there_is_some
from wherryd.tasks import Outcome

if TYPE_CHECKING:
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Adopted


LINGER = 5.0
"""Seconds that what was started under another supervisor stays, if it is to be removed at its end: whoever
followed it looks for the next supervisor four times a second."""


class Start:
    """A start that somebody asked for and waits for.

    An `attachment` is opened as soon as the command executes. When a `first` start fails, the container goes.
    When one `again`, by its restart policy, fails, that goes on: see restarting.py.
    """

    def __init__(
        self, launch: Launch, *, attachment: Attachment | None, first: bool, again: bool = False
    ) -> None:
        self.launch = launch
        self.attachment = attachment
        self.first = first
        self.again = again
        self.outcome: Outcome[None] = Outcome()


async def supervise(container: Container, services: Services, start: Start) -> None:
    """Start a container (phase STARTING) and own it to its end."""
    try:
        run = await start.launch.finish(start.attachment)
    except WherryError as error:
        no_memory.ends_us(error)
        _failed(container, services, start, error)
        return
    except Exception as error:  # noqa: BLE001 - a defect in one start must not end the others
        no_memory.ends_us(error)
        _failed(container, services, start, _unforeseen(container, error))
        return
    failpoints.hit("start.executing")
    container.run = run
    container.started_at = time.time()
    container.restart.began = time.monotonic()
    container.exit = None
    container.oom = OomState()
    container.move(Event.EXECUTING)
    if start.attachment is not None:
        start.attachment.open(container, run)
        tell(container, services, "attach")
    tell(container, services, "start", _by_policy(container) if start.again else NO_FACTS)
    services.records.save(container)
    journal.info("container started", id=container.id, name=container.name, pid=container.pid)
    services.health.started(container)
    container.started.set()
    start.outcome.set(None)
    failpoints.hit("start.answered")
    await watch(container, services)


def _unforeseen(container: Container, error: Exception) -> WherryError:
    """Return what a start has failed of that nobody foresaw: we are short of something, or a defect."""
    short = refusal(f"container {container.name}: start", error)
    if short is not None:
        return short
    journal.defect("start failed", error, id=container.id)
    return InternalError(f"container {container.name}: start: {error!r}")


def _by_policy(container: Container) -> dict[str, str]:
    return {"restartCount": str(container.restart.tries.count)}


def _failed(container: Container, services: Services, start: Start, error: WherryError) -> None:
    container.move(Event.FAILED)
    container.started.set()
    if start.first:
        remove_ended(container, services)
    elif not start.again:
        container.log.close()
        if container.exit is not None:
            container.ended.call_off(container.exit)
    start.outcome.fail(error)


async def adopt(container: Container, services: Services, held: Adopted) -> None:
    """Go on with a container that the launcher held while there was no supervisor."""
    container.directory.mkdir(mode=0o700, exist_ok=True)
    container.log.prepare()
    container.log.followers.expect(LINGER)
    container.run = attach(container, services, held, container.log.end())
    container.exit = None
    container.oom.unseen = held.exit is not None
    services.group_watch.look(container, services)
    container.lingers_until = trio.current_time() + LINGER
    journal.info("container taken back", id=container.id, name=container.name, pid=held.pid)
    await watch(container, services)


async def watch(container: Container, services: Services) -> None:
    """Wait for the end and record it."""
    try:
        status, at = await until_there_is_some("a container's end", partial(end_of, container, services))
    except Exception as error:  # noqa: BLE001 - a defect in one watch must not end the others
        no_memory.ends_us(error)
        journal.defect("watching a container failed", error, id=container.id)
        status, at = ExitStatus(error=f"wherryd failed to watch it: {error!r}"), None
    if container.run is not None:
        container.run.close()
        container.run = None
    container.exit = status
    # What ends at once has done so before its start was told.
    container.finished_at = max(container.started_at or 0.0, at or time.time())
    container.move(Event.EXIT)
    tell_end(container, services, status)
    services.networks.detach(container)
    journal.info("container ended", id=container.id, name=container.name, **_told(status))
    if not container.log.finished:
        # A full disk: the launcher keeps the pipes until every byte is in the log.
        services.records.save(container)
        container.ended.set(status)
        await container.log.wait_drained()
    if container.phase is Phase.EXITED:
        await _over(container, services)


async def _over(container: Container, services: Services) -> None:
    """Write the end down, or remove the container if that was asked for."""
    # The counts in its groups are the only ones until then, should we be killed.
    services.records.save(container, partial(_drop_groups, container, services))
    container.ended.log_end = await until_there_is_some("a log's end", partial(_log_end, container))
    container.ended.set(container.exit)
    to_remove = container.config.spec.auto_remove and not container.keep
    if to_remove and container.lingers_until <= trio.current_time():
        remove_ended(container, services)
        return
    services.records.save(container, partial(_release, container, services))
    if container.keep or services.restarts.follow(container):
        container.log.notify()  # who is attached to this run has all of it
    else:
        container.log.close()
    if to_remove:
        await linger(container, services)


async def _log_end(container: Container) -> int:
    return container.log.end()


async def linger(container: Container, services: Services) -> None:
    """Remove what is to be removed, a moment later: clients of another supervisor may come back for it."""
    ended = container.exit
    await trio.sleep_until(container.lingers_until)
    if container.readers:
        await container.readers.wait_gone()
    if container.phase is Phase.EXITED and container.exit is ended:
        remove_ended(container, services)


def _drop_groups(container: Container, services: Services) -> None:
    failpoints.hit("end.saved")
    services.group_of(container.id).remove()
    failpoints.hit("end.groups")


def _release(container: Container, services: Services) -> None:
    services.launcher.release(container.id)
    failpoints.hit("end.released")


def _told(status: ExitStatus) -> dict[str, object]:
    if status.signal is not None:
        return {"signal": status.signal}
    return {"code": "unknown" if status.code is None else status.code}
