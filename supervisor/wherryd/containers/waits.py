"""Waits that outlast the run of now: for the next end, for a removal. Changes nothing.

Whoever waits may have asked another supervisor first: what happened since counts, as if it happened now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.container_state import ExitStatus
from wherry_protocol.errors import NotFound

if TYPE_CHECKING:
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


async def wait_next_exit(container: Container, services: Services, after: float | None) -> ExitStatus:
    """Return how a run ended that began at another time than `after`. Raises NotFound when it is removed."""
    if container.exit is not None and container.started_at != after:
        return container.exit
    while services.registry.get(container.id) is container:
        over = container.next_end()
        await over.wait()
        if over.began and over.status is not None:
            return over.status
    raise NotFound(f"container {container.name} was removed before its next exit")


async def wait_removed(container_id: str, services: Services) -> ExitStatus:
    """Return the last exit of a container, once it is gone, also for the supervisor after us.

    Raises NoSpace when that cannot be put on record.
    """
    container = services.registry.get(container_id)
    if container is None:
        return ExitStatus(error="it was removed before: how it ended is not known any more")
    await services.registry.wait_discarded(container)
    services.records.flush()
    return container.exit or ExitStatus(error="it never ran")
