"""At the supervisor's start: make the containers of the state database and what really runs agree.

in the database and held by the launcher         taken back, running or just ended
said to run, but the launcher does not have it   ended; how cannot be known; stragglers killed
said to begin its first run, and neither         the same, as its client may have heard that it runs; but
                                                 forgotten, if the launcher is the one that was asked for it
held by the launcher, not in the database        killed and let go: nobody could ever ask for it; taken in, if
                                                 the database was lost
a directory or cgroup of no container            removed

After a start of the machine nothing of what ran is there, and nothing is signalled: a process that has the id
of one of ours is somebody else's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wherry_protocol.container_state import ExitStatus
from wherry_protocol.errors import NoSpace
from wherryd import journal
from wherryd.cgroups.waiting import kill_all, wait_empty
from wherryd.containers.container import restored
from wherryd.containers.freezing import let_go
from wherryd.containers.lifecycle import Phase
from wherryd.containers.removal import remove_ended
from wherryd.containers.supervise import LINGER, adopt, linger
from wherryd.containers.telling import tell, tell_end
from wherryd.kernel import cgroups, failpoints
from wherryd.kernel.errors import KernelError
from wherryd.salvage.strays import put_aside, take_in
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Adopted
    from wherryd.salvage.opening import Opened
    from wherryd.store import Store

END_TIMEOUT = 2.0
"""Seconds for the records of ends that nobody watched: clients shall see them from the first moment on."""

BOOT_ID = "boot_id"
"""The fact in the state database that says which boot its states are of."""

_UNSEEN = "it ended while neither supervisor nor launcher watched"
_REBOOTED = "the machine went down while it ran"

KILL_TIMEOUT = 5.0
"""Seconds for the processes of containers that nobody can supervise any more."""


async def recover(services: Services, state: Opened, nursery: trio.Nursery, boot_id: str) -> None:
    """Bring registry, launcher and host in agreement; supervising tasks go into `nursery`."""
    _load(services, state.store)
    failpoints.hit("recover.loaded")
    rebooted = state.store.meta(BOOT_ID) not in (None, boot_id)
    if rebooted:
        journal.info("the machine was started since", containers=len(services.registry))
    services.networks.recover()
    # What has a note is no container: processes/execs.py takes it back.
    held = {entry.id: entry for entry in services.launcher.adopted if entry.note is None}
    adopted: set[str] = set()
    for entry in held.values():
        container = services.registry.get(entry.id)
        if container is None and state.rebuilt:
            container = take_in(entry, services)
        if container is None or _recorded(container, entry):
            await _let_go(services, entry)
            continue
        _mark_running(container, services)
        let_go(container, services)  # it may have been frozen for a reader that is gone
        adopted.add(entry.id)
        start_soon(nursery, adopt, container, services, entry)
    with trio.move_on_after(END_TIMEOUT):
        for each in [registered for registered in services.registry if _over(registered, held)]:
            await each.ended.wait()
    for container in services.registry:
        if container.id not in held:
            await _settle_dead(container, services, rebooted=rebooted)
        over = container.phase is Phase.EXITED and container.id not in adopted
        if over and container.config.spec.auto_remove:
            container.lingers_until = trio.current_time() + LINGER
            start_soon(nursery, linger, container, services)
    await _sweep(services, state)
    failpoints.hit("recover.swept")
    if state.store.meta(BOOT_ID) != boot_id:
        _remember(state.store, services, boot_id)


async def _settle_dead(container: Container, services: Services, *, rebooted: bool) -> None:
    """Record the end of a container that nobody holds, if that is not done, and free what it had."""
    if rebooted:
        _forget_boot(container)
    if container.alive:
        await _mark_lost(container, services, rebooted=rebooted)
    elif container.endpoints:
        services.networks.detach(container)  # a start that came to nothing
        services.records.save(container)
    _mend_log(container)


def _mend_log(container: Container) -> None:
    """Do what is left of a rotation that nobody goes on with."""
    try:
        if container.log.interrupted():
            container.log.prepare()
            container.log.close()
    except OSError as error:
        journal.error("log not mended", id=container.id, name=container.name, error=error)


def _remember(store: Store, services: Services, boot_id: str) -> None:
    """Put on record which boot the states are of, after them: a crash in between begins anew."""
    try:
        services.records.flush()
        store.set_meta(BOOT_ID, boot_id)
    except NoSpace as error:
        journal.error("boot not recorded: the next start looks at everything again", error=error)


def _forget_boot(container: Container) -> None:
    """Drop what meant something in another boot: its process id, and times by its clock."""
    container.pid = None
    if container.restart.due is not None:
        container.restart.due = time.monotonic()


def _mark_running(container: Container, services: Services) -> None:
    container.started_at = container.started_at or container.created_at
    if container.phase in (Phase.RUNNING, Phase.PAUSED):
        return
    container.next_run()  # the record is of the one before: its end is not this one's
    container.started_at = container.finished_at or container.created_at  # not before; nobody knows better
    container.phase = Phase.RUNNING
    container.restart.due = None
    tell(container, services, "start")
    services.records.save(container)


def _over(container: Container, held: Mapping[str, Adopted]) -> bool:
    entry = held.get(container.id)
    return entry is not None and entry.exit is not None


def _recorded(container: Container, entry: Adopted) -> bool:
    """Say whether this run's end is in the database already, and the launcher was only not told to let go."""
    over = container.phase in (Phase.EXITED, Phase.RESTARTING)
    return over and entry.exit is not None and container.pid == entry.pid


def _load(services: Services, store: Store) -> None:
    for container_id, name, config, status in store.containers():
        container = restored(container_id, name, config, status, services.settings.containers_dir)
        services.registry.add(container)
        if status.get("untold"):
            tell(container, services, "create")
            services.records.save(container)


async def _let_go(services: Services, entry: Adopted) -> None:
    journal.warning("the launcher held what no container asks for", id=entry.id, pid=entry.pid)
    cgroup = services.cgroup_of(entry.id)
    kill_all(cgroup)
    await wait_empty(cgroup, KILL_TIMEOUT)
    entry.close()
    services.launcher.release(entry.id)


async def _mark_lost(container: Container, services: Services, *, rebooted: bool) -> None:
    cgroup = services.cgroup_of(container.id)
    kill_all(cgroup)
    if not await wait_empty(cgroup, KILL_TIMEOUT):
        journal.error("processes are stuck in the kernel", id=container.id, cgroup=cgroup)
    journal.warning("container was lost", id=container.id, name=container.name)
    services.networks.detach(container)
    if container.phase is Phase.STARTING and services.launcher.found and not rebooted:
        # The first start of a `run`, which came to nothing: a launcher that was there would hold it.
        container.phase = Phase.CREATED
        remove_ended(container, services)
        return
    container.phase = Phase.EXITED
    container.started_at = container.started_at or container.created_at
    container.exit = ExitStatus(error=_REBOOTED if rebooted else _UNSEEN)
    container.finished_at = container.started_at
    if rebooted:
        # Not later than that; nobody knows better.
        booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        container.finished_at = max(container.started_at or 0.0, booted_at)
    container.ended.set(container.exit)
    tell_end(container, services, container.exit)
    services.records.save(container)


def sweep_spares(services: Services) -> None:
    """Remove another supervisor's spares, before we make ours: it may not have been done with one."""
    for entry in os.scandir(services.settings.spare_dir):
        services.trash.take(services.settings.spare_dir / entry.name)


async def _sweep(services: Services, state: Opened) -> None:
    """Remove directories and cgroups of no container."""
    for entry in os.scandir(services.settings.containers_dir):
        if services.registry.get(entry.name) is None and state.rebuilt:
            put_aside(entry.path, state.aside)
        elif services.registry.get(entry.name) is None:
            services.trash.take_soon(services.settings.containers_dir / entry.name)
    services.spare_groups.sweep({container.id for container in services.registry if container.alive})
    strays = [Path(entry.path) for entry in os.scandir(services.cgroups.v2) if entry.is_dir()]
    strays = [each for each in strays if not _in_use(each.name, services)]
    for cgroup in strays:
        kill_all(cgroup)
    with trio.move_on_after(KILL_TIMEOUT):
        for cgroup in strays:
            await wait_empty(cgroup, KILL_TIMEOUT)
    for cgroup in strays:
        try:
            cgroups.remove(str(cgroup))
        except KernelError as error:
            journal.error("cgroup not removed", cgroup=cgroup, error=error)


def _in_use(container_id: str, services: Services) -> bool:
    container = services.registry.get(container_id)
    return container is not None and container.alive
