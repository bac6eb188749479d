"""Asks running containers whether they work, and keeps what they say.

One task a container that has a healthcheck, from its start to its end; a container without one costs nothing.
A probe is a process beside the container's first one. The task never holds the container up: it is cancelled
with the run, and what it was about to learn is forgotten.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import trio

from wherry_protocol.errors import Conflict
from wherry_protocol.health import Health, Probe
from wherryd import journal
from wherryd.containers import healthcheck
from wherryd.containers.lifecycle import Phase
from wherryd.containers.telling import tell
from wherryd.kernel.errors import KernelError
from wherryd.kernel.procfs import TICKS, read_stat
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from wherry_protocol.health import HealthCheck
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


class Prober(Protocol):
    """Executes a probe in a running container."""

    async def __call__(self, container: Container, args: tuple[str, ...], seconds: float) -> tuple[int, str]:
        """Return its code and the beginning of its output.

        A probe that takes longer than `seconds`, or that is cancelled, is killed with all that it started;
        -1 stands for the former, and for one that could not begin. Raises Conflict when the container does
        not run, or ended meanwhile.
        """
        ...


class HealthWatch:
    """The monitors of one supervisor."""

    def __init__(self) -> None:
        self._monitors: dict[str, _Monitor] = {}
        self._begun: tuple[Services, trio.Nursery, Prober] | None = None

    def begin(self, services: Services, nursery: trio.Nursery, prober: Prober) -> None:
        """Watch containers from now on, those that run already too."""
        self._begun = services, nursery, prober
        for container in services.registry:
            if container.alive and container.config.health is not None:
                container.health = container.health or Health()
                self._watch(container, container.config.health)

    def started(self, container: Container) -> None:
        """Take note that a container has started."""
        if container.config.health is not None:
            container.health = Health()
            self._watch(container, container.config.health)

    def paused(self, container: Container) -> None:
        """Ask it nothing for now: what is frozen cannot answer."""
        monitor = self._monitors.get(container.id)
        if monitor is not None:
            monitor.pause()

    def unpaused(self, container: Container) -> None:
        """Go on asking."""
        monitor = self._monitors.get(container.id)
        if monitor is not None:
            monitor.resume()

    async def wait_known(self, container: Container) -> str:
        """Return "healthy" or "unhealthy" when the probes have said which. Raises Conflict."""
        monitor = self._monitors.get(container.id)
        if monitor is None:
            what = "has no healthcheck" if container.config.health is None else "is not running"
            raise Conflict(f"container {container.name} {what}")
        while not monitor.ended.is_set():
            if container.health is not None and container.health.status != "starting":
                return container.health.status
            await monitor.changed.wait()
        raise Conflict(f"container {container.name} ended before its health was known")

    def _watch(self, container: Container, check: HealthCheck) -> None:
        if self._begun is None:
            return
        services, nursery, prober = self._begun
        monitor = self._monitors[container.id] = _Monitor(container, check, services, prober)
        start_soon(nursery, self._run, monitor)

    async def _run(self, monitor: _Monitor) -> None:
        container = monitor.container
        async with open_nursery() as nursery:
            start_soon(nursery, monitor.run)
            await monitor.ended.wait()
            nursery.cancel_scope.cancel()
        if self._monitors.get(container.id) is monitor:
            del self._monitors[container.id]
        monitor.announce()


class _Monitor:
    """The watch on one run of a container. `changed` is set, and replaced, at each change of its health."""

    def __init__(self, container: Container, check: HealthCheck, services: Services, prober: Prober) -> None:
        self.container = container
        self.ended = container.ended
        self.changed = trio.Event()
        self._check = check
        self._args = healthcheck.command(check, container.config.image.config.shell)
        self._services = services
        self._prober = prober
        self._born = trio.current_time() - _age(container)
        self._running = trio.Event()
        if container.phase is not Phase.PAUSED:
            self._running.set()
        self._asking = trio.CancelScope()
        self._waited = _since_last(container.health)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            while not self._running.is_set():
                await self._running.wait()
            with trio.CancelScope() as self._asking:
                await self._ask()

    def pause(self) -> None:
        """Give up the probe under way, and begin none."""
        if self._running.is_set():  # else whoever waits on it would wait for ever
            self._running = trio.Event()
        self._asking.cancel()

    def resume(self) -> None:
        """Go on, with the first probe an interval from now."""
        self._running.set()

    def announce(self) -> None:
        """Wake who waits for news."""
        self.changed.set()
        self.changed = trio.Event()

    @property
    def _health(self) -> Health:
        return self.container.health or Health()

    async def _ask(self) -> None:
        while True:
            age = trio.current_time() - self._born
            left = healthcheck.before_next(self._check, self._health, age) - self._waited
            self._waited = 0.0
            await trio.sleep(max(0.0, left))
            await self._probe()

    async def _probe(self) -> None:
        age, started = trio.current_time() - self._born, time.time()
        try:
            code, output = await self._prober(self.container, self._args, self._check.timeout or 0)
        except Conflict:
            # It ended, or was paused in this very moment: that says nothing of its health.
            return
        if self.container.phase is not Phase.RUNNING:
            return
        probe = Probe(started_at=started, ended_at=time.time(), exit_code=code, output=output)
        self._take(healthcheck.after(self._check, self._health, probe, age))

    def _take(self, health: Health) -> None:
        changed = health.status != self._health.status
        self.container.health = health
        if changed:
            tell(self.container, self._services, f"health_status: {health.status}")
        self._services.records.save(self.container)
        if changed:
            self.announce()


def _age(container: Container) -> float:
    """Return the seconds that its first process has lived, which no setting of the clock changes."""
    try:
        stat = None if container.pid is None else read_stat(container.pid)
    except KernelError as error:
        journal.warning("nobody knows for how long a container has run", id=container.id, error=error)
        return 0.0
    if stat is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - stat.starttime / TICKS)


def _since_last(health: Health | None) -> float:
    """Return the seconds since the last probe, which another supervisor did; 0 when there was none."""
    return max(0.0, time.time() - health.log[-1].ended_at) if health and health.log else 0.0
