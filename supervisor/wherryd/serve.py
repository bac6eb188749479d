"""The root task: builds the parts, nests their nurseries, and takes them down in the reverse order.

    services     state writer, trash, launcher connection, log pump
      ⊃ containers   one task a running container, and every change that a request asked for
          ⊃ front        the listener and the clients' sessions

SIGTERM or SIGINT closes the front first; then, if so configured or if the machine goes down, the containers
are stopped; the tasks that watch them are cancelled, which leaves the containers with the launcher.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import trio

from wherry_protocol import SOFTWARE_VERSION
from wherry_protocol.errors import NoSpace, WherryError
from wherryd import journal, no_memory
from wherryd.cgroups.spares import SpareGroups
from wherryd.cgroups.tree import plant
from wherryd.containers.changes import Changes
from wherryd.containers.group_watch import GroupWatch
from wherryd.containers.health import HealthWatch
from wherryd.containers.making import keep_spec
from wherryd.containers.manager import Manager
from wherryd.containers.oom import OomWatch
from wherryd.containers.records import Records
from wherryd.containers.recovery import recover, sweep_spares
from wherryd.containers.registry import Registry
from wherryd.containers.restarting import Restarts
from wherryd.containers.services import Services
from wherryd.containers.spares import Spares
from wherryd.containers.starting import Starter
from wherryd.containers.trash import Trash
from wherryd.control.context import Context
from wherryd.control.facts import find_facts
from wherryd.control.verbs import Verbs
from wherryd.events.log import EventLog
from wherryd.front import Front
from wherryd.images.store import ImageStore
from wherryd.kernel.process import set_title
from wherryd.launcher.handle import open_launcher
from wherryd.logs.limits import LogDefaults
from wherryd.logs.packer import Packer
from wherryd.logs.pump import LogPump
from wherryd.network.service import Networks
from wherryd.notify import machine_goes_down, sd_notify
from wherryd.processes.execs import Execs
from wherryd.processes.probe import Prober
from wherryd.reloading import Reloader
from wherryd.salvage.copies import Copies
from wherryd.salvage.opening import open_state
from wherryd.tasks import guarded, open_nursery, start_soon
from wherryd.volumes.store import VolumeStore

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from wherryd.launcher.handle import Launcher
    from wherryd.salvage.opening import Opened
    from wherryd.settings import Settings
    from wherryd.store import Store

SWITCH_INTERVAL = 1e-5
"""Seconds after which the log pump may demand the interpreter's lock from the event loop.

The loop gives the lock up so often, and takes it back so soon, that with a longer interval the pump's demand
never ripens: at 0.1 ms a busy loop kept it out for seconds; at this, it waits some 0.1 ms.
"""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

STOP_TIMEOUT = 60.0
"""Seconds that --stop-containers may take, all in parallel."""

CHANGES_TIMEOUT = 2.0
"""Seconds for changes under way at the shutdown (a start, a removal) to come to their end."""


def run(settings: Settings, read: Callable[[], Settings], ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; calls `ready` once requests are answered. Raises WherryError.

    `read` reads the settings once more, for a reload.
    """
    set_title("wherryd: supervisor")
    sys.setswitchinterval(SWITCH_INTERVAL)
    no_memory.guard_threads()
    try:
        trio.run(serve, settings, read, ready)
    except BaseExceptionGroup as group:
        no_memory.ends_us(group)
        # One failure of ours in nested nurseries is still that one failure.
        error = _only(group)
        if isinstance(error, WherryError):
            raise error from None
        raise
    except BaseException as error:
        no_memory.ends_us(error)
        raise


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    if len(group.exceptions) > 1:
        return group
    return (
        _only(cast("BaseExceptionGroup[BaseException]", inner))
        if isinstance(inner, BaseExceptionGroup)
        else inner
    )


async def serve(settings: Settings, read: Callable[[], Settings], ready: Callable[[], None]) -> None:
    """Build, serve, take down."""
    with ExitStack() as stack:
        scraped = _listen_for_scrapers(settings, stack)
        state = open_state(settings)
        store = state.store
        stack.callback(store.close)
        images = ImageStore(settings.images_dir, store.connection)
        images.recover()
        tree = plant(settings.instance, settings.run_dir)
        stack.callback(tree.close)
        tree.make()
        spare_groups = SpareGroups(tree)
        stack.callback(spare_groups.close)
        pump = LogPump()
        pump.start()
        stack.callback(pump.close)
        async with open_launcher(settings.run_dir) as launcher, open_nursery() as background:
            services = _services(settings, store, images, launcher, pump, spare_groups)
            stack.callback(services.oom.close)
            stack.callback(services.group_watch.close)
            services.volumes.recover()
            start_soon(background, guarded, "state writer", services.records.run)
            start_soon(background, guarded, "trash", services.trash.run)
            sweep_spares(services)
            start_soon(background, guarded, "spares", services.spares.run)
            start_soon(background, guarded, "spare cgroups", services.spare_groups.run)
            start_soon(background, guarded, "log packer", services.packer.run)
            start_soon(background, guarded, "networks", services.networks.run)
            start_soon(background, guarded, "OOM watch", partial(services.oom.run, services))
            start_soon(background, guarded, "cgroup watch", partial(services.group_watch.run, services))
            if scraped is not None:
                start_soon(background, guarded, "metrics", partial(_serve_scrapers, scraped, services))
            _tell_of_ourselves(services, "start")
            copies = Copies(settings.records_dir, store, services.registry)
            recovered = partial(_follow, copies, services, background)
            reloader = Reloader(settings, read, services.networks, services.log_defaults)
            front = Front(settings.control_socket, reloader, ready)
            await _serve_containers(services, state, recovered, front)
            await services.networks.close()
            _tell_of_ourselves(services, "stop")
            background.cancel_scope.cancel()
            _write_last(services.records, copies)
    journal.info("supervisor ended")


def _listen_for_scrapers(settings: Settings, stack: ExitStack) -> socket.socket | None:
    if settings.metrics is None:
        return None
    from wherryd.metrics.address import listening  # few ask for it

    return stack.enter_context(listening(settings.metrics))


async def _serve_scrapers(listening: socket.socket, services: Services) -> None:
    from wherryd.metrics.exporter import Exporter  # 3 MiB that few pay
    from wherryd.metrics.server import serve as serve_page

    journal.info("metrics are served", address=services.settings.metrics)
    await serve_page(listening, Exporter(services))


def _tell_of_ourselves(services: Services, action: str) -> None:
    facts = {"pid": str(os.getpid()), "version": SOFTWARE_VERSION}
    services.events.emit("daemon", action, services.settings.instance, facts)


def _follow(copies: Copies, services: Services, background: trio.Nursery) -> None:
    """Have copies follow the database, once both know every container."""
    copies.begin()
    services.records.on_written = copies.note
    start_soon(background, guarded, "record files", copies.run)


def _write_last(records: Records, copies: Copies) -> None:
    try:
        records.flush()
        copies.finish()
    except NoSpace as error:
        # Nothing is lost: the launcher keeps every exit until a supervisor has written it down.
        journal.error("state not written at the end", error=error)


def _services(
    settings: Settings,
    store: Store,
    images: ImageStore,
    launcher: Launcher,
    pump: LogPump,
    spare_groups: SpareGroups,
) -> Services:
    events = EventLog(store, _boot_id())
    trash = Trash(settings.trash_dir)
    registry = Registry()
    records = Records(store, events)
    return Services(
        settings=settings,
        registry=registry,
        records=records,
        events=events,
        health=HealthWatch(),
        oom=OomWatch(),
        restarts=Restarts(),
        images=images,
        launcher=launcher,
        pump=pump,
        packer=Packer(),
        log_defaults=LogDefaults(settings.log),
        volumes=VolumeStore(
            settings.volumes_dir,
            store.connection,
            trash=trash,
            mountpoint=settings.mountpoint,
            tell=lambda action, name: events.emit("volume", action, name, {"driver": "local"}),
        ),
        networks=Networks(
            store.connection,
            registry,
            settings.instance,
            default=settings.default_network,
            tell=lambda action, identity, facts: events.emit("network", action, identity, facts),
            keep=partial(keep_spec, records),
        ),
        trash=trash,
        spares=Spares(settings.spare_dir),
        cgroups=spare_groups.tree,
        spare_groups=spare_groups,
        group_watch=GroupWatch(spare_groups.tree),
    )


def _boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


async def _serve_containers(
    services: Services, state: Opened, recovered: Callable[[], None], front: Front
) -> None:
    async with open_nursery() as nursery:
        changes = Changes(nursery)
        starter = Starter(services, nursery, changes)
        manager = Manager(services, starter, changes)
        services.restarts.begin(services, nursery, starter)
        await recover(services, state, nursery, _boot_id())
        recovered()
        services.networks.reclaim()
        start_soon(nursery, services.networks.restore)
        if services.settings.default_network == "bridge":
            start_soon(nursery, services.networks.prepare)
        execs = Execs(services, nursery)
        execs.adopt()
        services.health.begin(services, nursery, Prober(execs))
        services.packer.look(container.log for container in services.registry)
        services.restarts.open()
        facts = find_facts(services.cgroups)
        context = Context(manager=manager, execs=execs, facts=facts, reloader=front.reloader)
        await front.serve(Verbs(context), containers=len(services.registry))
        sd_notify("STOPPING=1")
        # Nobody else would do it politely, or be there to see how they end.
        if front.reloader.current.stop_containers or await machine_goes_down():
            sd_notify("STATUS=stopping, and the containers")
            await manager.stop_all(STOP_TIMEOUT)
        else:
            sd_notify("STATUS=stopping; containers go on")
        with trio.move_on_after(CHANGES_TIMEOUT):
            await changes.wait_idle()
            await execs.wait_over()
        nursery.cancel_scope.cancel()
