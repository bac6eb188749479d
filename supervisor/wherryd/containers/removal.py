"""How a container goes: off the database, out of the registry, its directory into the trash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd import journal
from wherryd.containers.lifecycle import Event

if TYPE_CHECKING:
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


def forget(container: Container, services: Services) -> None:
    """Remove an ended (or never started) container; its name is free when this returns.

    Raises Conflict when its phase does not allow it, NoSpace (nothing changed) when the disk is full.
    """
    before = container.phase
    container.move(Event.REMOVE)
    try:
        services.records.remove(container)
    except BaseException:
        container.phase = before
        raise
    container.log.close()
    services.registry.discard(container)
    services.trash.take(container.directory)
    container.ended.set()
    journal.info("container removed", id=container.id, name=container.name)
