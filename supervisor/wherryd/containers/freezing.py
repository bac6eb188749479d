"""Standing still: paused by a user, or for somebody who reads a container's files meanwhile.

Owns the count of those who need it. A container that a user pauses or unpauses meanwhile keeps the state
that the user gave it; what a killed supervisor left frozen is thawed at the next start (recovery.py).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict
from wherryd.cgroups.waiting import freeze, thaw
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.telling import tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


@asynccontextmanager
async def standing_still(container: Container, services: Services) -> AsyncGenerator[None]:
    """Freeze every process of a running container until the end of the block.

    Raises Conflict (it ended meanwhile), KernelFailure.
    """
    container.holds += 1
    services.health.paused(container)
    try:
        await freeze(services.cgroup_of(container.id), lambda: container.alive)
        yield
    finally:
        container.holds -= 1
        let_go(container, services)


def let_go(container: Container, services: Services) -> None:
    """Thaw a container, unless somebody needs it to stand still. Raises KernelFailure."""
    if not container.holds and container.phase is not Phase.PAUSED:
        thaw(services.cgroup_of(container.id))
        services.health.unpaused(container)


async def pause(container: Container, services: Services) -> None:
    """Freeze every process; returns when all are. Raises Conflict also when it was stopped meanwhile."""
    container.move(Event.PAUSE)
    try:
        await freeze(services.cgroup_of(container.id), lambda: container.phase is Phase.PAUSED)
    except BaseException:
        if container.phase is Phase.PAUSED:
            container.move(Event.UNPAUSE)
            let_go(container, services)
        raise
    if container.phase is not Phase.PAUSED:
        raise Conflict(f"container {container.name} was stopped or unpaused before it stood still")
    services.health.paused(container)
    tell(container, services, "pause")
    services.records.save(container)


def unpause(container: Container, services: Services) -> None:
    """Thaw a paused container."""
    container.move(Event.UNPAUSE)
    let_go(container, services)
    tell(container, services, "unpause")
    services.records.save(container)
