"""How a container goes: out of the registry, off the database, its directory into the trash.

The name is free at once. The rest follows the record's removal, so that a crash in between finds either the
whole container or nothing of it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict
from wherryd import journal
from wherryd.containers.lifecycle import Event
from wherryd.containers.mounting import drop_volumes
from wherryd.containers.telling import tell
from wherryd.kernel import failpoints

if TYPE_CHECKING:
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


def remove(container: Container, services: Services) -> None:
    """Remove an ended (or never started) container because somebody asked for it.

    Raises Conflict when its phase does not allow it, NoSpace (nothing changed) when the disk is full.
    """
    if container.readers:
        raise Conflict(
            f"container {container.name} cannot be removed: its files are being read or written",
            hint="wait for the commit, export, diff or cp to end",
        )
    before = container.phase
    container.move(Event.REMOVE)
    tell(container, services, "destroy")
    try:
        services.records.remove(container, partial(_let_go, container, services))
    except BaseException:
        services.events.retract()
        container.phase = before
        raise
    _leave(container, services)


def remove_ended(container: Container, services: Services) -> None:
    """Remove a container whose end, or failed first start, was to be its removal (`--rm`, `run`)."""
    container.move(Event.REMOVE)
    if container.recorded:
        tell(container, services, "destroy")
        services.records.remove_soon(container, partial(_let_go, container, services))
    else:
        _let_go(container, services)
    _leave(container, services)
    if container.config.mounts:
        # One that never ran leaves nothing of what was made for it; else `--rm` is `rm --volumes`.
        drop_volumes(container, services, all_made=container.started_at is None)


def _leave(container: Container, services: Services) -> None:
    try:
        container.log.bequeath()
    except OSError as error:
        journal.error("a removed log is lost to who reads it", id=container.id, error=error)
    container.log.forsake()
    services.registry.discard(container)
    container.never_ends()
    journal.debug("container removed", id=container.id, name=container.name)


def _let_go(container: Container, services: Services) -> None:
    failpoints.hit("rm.recorded")
    services.trash.take_soon(container.directory)
    failpoints.hit("rm.trashed")
    services.launcher.release(container.id)
