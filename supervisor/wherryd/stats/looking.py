"""Looks at containers, many at once, and at the time between two looks.

Files are read in a thread, as some of the kernel's sums take their time; only what is still the same
container's when the thread comes back is believed.
"""

from __future__ import annotations

import select
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, Conflict, KernelFailure
from wherry_protocol.stats import MAX_INTERVAL, MIN_INTERVAL, Stats
from wherryd import journal
from wherryd.kernel.errors import KernelError
from wherryd.stats.reading import Source, percent, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from wherryd.containers.container import Container, Run
    from wherryd.containers.services import Services
    from wherryd.stats.reading import Reading

READ_TIMEOUT = 5.0
"""Seconds for one look at all containers: a thousand take a quarter of one."""

FIRST_LOOK = 0.5
"""Seconds that the first look of a stream lasts at most: people wait for it."""

_threads = trio.CapacityLimiter(4)


async def stats_of(container: Container, services: Services) -> Stats:
    """Return what a running container uses. Raises Conflict, KernelFailure."""
    _check_running(container)
    readings = await look((container,), services)
    if container.id not in readings:
        raise _not_running(container)
    return readings[container.id].stats


def _check_running(container: Container) -> None:
    if container.run is None or not container.alive:
        raise _not_running(container)


def _not_running(container: Container) -> Conflict:
    return Conflict(f"container {container.name} is not running", hint="see 'wherry ps -a'")


async def look(containers: Iterable[Container], services: Services) -> dict[str, Reading]:
    """Read the counters of those that run, by id. Raises KernelFailure when it is not done in time."""
    runs = [(each, each.run) for each in containers if each.run is not None and each.alive]
    readings = await _in_thread([_source(container, services) for container, _ in runs])
    go_on = _go_on({container.id: run for container, run in runs if container.run is run})
    return {each.stats.id: each for each in readings if each.stats.id in go_on}


async def _in_thread(sources: Sequence[Source]) -> list[Reading]:
    with trio.move_on_after(READ_TIMEOUT):
        return await trio.to_thread.run_sync(
            partial(_read_all, sources), abandon_on_cancel=True, limiter=_threads
        )
    raise KernelFailure(
        f"stats: the counters of {len(sources)} containers were not read within {READ_TIMEOUT:.0f} s",
        hint="is the machine out of memory?",
    )


def _read_all(sources: Sequence[Source]) -> list[Reading]:
    readings: list[Reading] = []
    for source in sources:
        try:
            readings.append(read(source))
        except KernelError as error:
            journal.error("counters not read", id=source.id, error=error)
    return readings


def _source(container: Container, services: Services) -> Source:
    group = services.group_of(container.id)
    return Source(
        id=container.id,
        name=container.name,
        started_at=container.started_at or container.created_at,
        v2=group.v2,
        cpu=group.path_of("cpu"),
        memory=group.path_of("memory"),
        pids=group.path_of("pids"),
        io=group.path_of("io"),
        pid=None if container.config.spec.network == "host" else container.pid,
    )


def _go_on(runs: Mapping[str, Run]) -> set[str]:
    """Return the ids of those whose first process has not ended: its number may be another's by now."""
    poll = select.poll()
    for run in runs.values():
        poll.register(run.pidfd, select.POLLIN)
    ended = {fd for fd, _ in poll.poll(0)}
    return {container_id for container_id, run in runs.items() if run.pidfd not in ended}


class Watch:
    """Looks again and again, at the containers that a request names."""

    def __init__(self, services: Services, refs: Sequence[str], *, every: bool, interval: float) -> None:
        if not MIN_INTERVAL <= interval <= MAX_INTERVAL:
            raise BadRequest(f"interval {interval:g}: expected {MIN_INTERVAL} to {MAX_INTERVAL:.0f} seconds")
        self._services = services
        self._every = every
        self._interval = interval
        self._named = tuple(dict.fromkeys(services.registry.find(ref) for ref in refs))
        if not every:
            for container in self._named:
                _check_running(container)

    async def samples(self) -> AsyncGenerator[tuple[Stats, ...]]:
        """Yield looks until the named containers are gone; to be closed with `aclosing`."""
        before = await look(self._wanted(), self._services)
        due = trio.current_time() + min(self._interval, FIRST_LOOK)
        while True:
            await trio.sleep_until(due)
            wanted = self._wanted()
            if self._named and not wanted:
                return
            readings = await look(wanted, self._services)
            yield tuple(self._told(wanted, before, readings))
            before = readings
            # A reader that was slow, or a laptop that slept, misses looks instead of getting them late.
            due = max(due + self._interval, trio.current_time())

    def _wanted(self) -> list[Container]:
        known = self._services.registry
        containers = self._named or reversed(tuple(known))
        there = [each for each in containers if known.get(each.id) is each]
        return there if self._every else [each for each in there if each.alive]

    def _told(
        self, wanted: Sequence[Container], before: dict[str, Reading], readings: dict[str, Reading]
    ) -> Iterable[Stats]:
        for container in wanted:
            reading = readings.get(container.id)
            if reading is not None:
                yield since(before.get(container.id), reading)
            elif self._every:
                yield Stats(id=container.id, name=container.name, time=time.time(), running=False)


def since(before: Reading | None, now: Reading) -> Stats:
    """Return a look with the use of the processors since the one before, if that was of the same run."""
    cpu, earlier = now.stats.cpu, before.stats.cpu if before is not None else None
    if before is None or earlier is None or cpu is None or cpu.seconds < earlier.seconds:
        return now.stats
    return now.stats.replace(cpu_percent=percent(cpu.seconds - earlier.seconds, now.at - before.at))
