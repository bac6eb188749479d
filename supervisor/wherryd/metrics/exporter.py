"""One supervisor's metrics page: gathered and written when somebody asks for it, one at a time."""

from __future__ import annotations

import os
import platform
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherryd import __version__
from wherryd.metrics.page import CONTENT_TYPE, Counted, render
from wherryd.stats.looking import look

if TYPE_CHECKING:
    from wherryd.containers.services import Services

STATES = ("created", "running", "paused", "restarting", "exited")


class Exporter:
    """Calling it returns the content type and the page. Raises KernelFailure."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = trio.Lock()

    async def __call__(self) -> tuple[str, bytes]:
        """Gather and write it; scrapers who come together wait for each other."""
        async with self._turn:
            counted = await self._counted()
            return CONTENT_TYPE, await trio.to_thread.run_sync(partial(render, counted))

    async def _counted(self) -> Counted:
        services, containers = self._services, tuple(self._services.registry)
        readings = await look(containers, services)
        states: Counter[str] = Counter(container.summary().state for container in containers)
        running = [each for each in containers if each.id in readings]
        tally = services.events.tally
        return Counted(
            version={
                "version": __version__,
                "python": platform.python_version(),
                "kernel": os.uname().release,
                "instance": services.settings.instance,
            },
            launcher_pid=services.launcher.pid,
            containers={state: states.get(state, 0) for state in STATES},
            images=len(services.images.list()),
            starts=tally.events["container", "start"],
            exits=dict(tally.exits),
            oom_kills=dict(tally.oom_kills),
            events=dict(tally.events),
            stats=[each.stats for each in readings.values()],
            started_at={each.id: each.started_at for each in running if each.started_at is not None},
            container_oom_kills={each.id: each.oom.told for each in running},
            healthy={each.id: each.health.status == "healthy" for each in running if each.health is not None},
        )
