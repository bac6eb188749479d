"""Which containers a container requires, and having them up before it starts.

Owns the graph: it is made of names, so that a container that takes another's place under its name is what is
required from then on. There is no cycle in it. Starts nothing by itself: it asks for that.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, Conflict, NotFound, WherryError
from wherryd.containers.lifecycle import Phase
from wherryd.network.modes import other_container
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from wherry_protocol.run_spec import RunSpec
    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.containers.services import Services

UP_TIMEOUT = 60.0
"""Seconds for what is required to run; its own requirements have as long each."""

HEALTH_MARGIN = 10.0
"""Seconds beyond those in which a healthcheck has to have said how its container is."""

MAX_REQUIRED = 64
"""Containers that one may require."""


def settle(spec: RunSpec, registry: Registry) -> RunSpec:
    """Return a request with what it requires by name. Raises BadRequest, NotFound, Conflict."""
    return spec.replace(requires=settled(spec.name, spec.requires, registry))


def settled(name: str | None, references: Iterable[str], registry: Registry) -> tuple[str, ...]:
    """Return the names of what a container (None: it has no name yet) is to require.

    Raises NotFound, BadRequest (a cycle, too many), Conflict.
    """
    names: list[str] = []
    for reference in references:
        if reference == name:
            raise BadRequest(f"container {name} cannot require itself")
        try:
            found = registry.find(reference).name
        except NotFound:
            raise NotFound(f"requires {reference}: there is no such container") from None
        if found not in names:
            names.append(found)
    if len(names) > MAX_REQUIRED:
        raise BadRequest(f"requires: {len(names)} containers are too many", hint=f"at most {MAX_REQUIRED}")
    if name is not None:
        check_cycle(name, {**_graph(registry), name: tuple(names)})
    return tuple(names)


def check_cycle(start: str, graph: Mapping[str, tuple[str, ...]]) -> None:
    """Raises BadRequest naming the way when a container would, in the end, require itself."""
    came_from: dict[str, str] = {}
    left = [start]
    while left:
        name = left.pop()
        for each in graph.get(name, ()):
            if each == start:
                way = [start, name]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                told = " → ".join(reversed(way)) if name != start else f"{start} → {start}"
                raise BadRequest(f"requires: that is a cycle: {told}", hint="leave one of these out")
            if each not in came_from:
                came_from[each] = name
                left.append(each)


def check_rename(container: Container, name: str, registry: Registry) -> None:
    """Raises BadRequest when a new name closes a cycle: somebody may require a container of that name."""
    graph = _graph(registry)
    check_cycle(name, {**graph, name: graph.pop(container.name, ())})


def follow_rename(before: str, after: str, registry: Registry) -> list[Container]:
    """Have everybody who requires a container know it by its new name; return them."""
    changed = [each for each in registry if before in each.config.spec.requires]
    for each in changed:
        spec = each.config.spec
        requires = tuple([after if name == before else name for name in spec.requires])
        each.config = dataclasses.replace(each.config, spec=spec.replace(requires=requires))
    return changed


def _graph(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {each.name: each.config.spec.requires for each in registry if each.config.spec.requires}


def dependents(container: Container, registry: Registry) -> list[Container]:
    """Return who requires a container, directly."""
    return [each for each in registry if container.name in each.config.spec.requires]


def check_unrequired(container: Container, registry: Registry) -> None:
    """Raises Conflict, naming them, when containers require this one."""
    names = sorted(each.name for each in dependents(container, registry))
    if names:
        raise Conflict(
            f"container {container.name} is required by {', '.join(names)}",
            hint="remove those first, or use rm -f",
        )


class Required:
    """What one start needs to be up first. `start` starts a container. `asked`: a person wants it now.

    What somebody stopped is started again only for a person.
    """

    def __init__(
        self,
        container: Container,
        services: Services,
        start: Callable[[Container], Awaitable[object]],
        *,
        asked: bool,
    ) -> None:
        self._container = container
        self._services = services
        self._start = start
        self._asked = asked

    async def ready(self) -> None:
        """Return when all run, and are healthy if they have a healthcheck. Raises WherryError."""
        required = [self._find(name) for name in self._container.config.spec.requires]
        for each in required:
            await self._up(each)
        for each in required:
            await self._healthy(each)
        await self._neighbour()

    def _find(self, name: str) -> Container:
        found = self._services.registry.names.get(name)
        if found is None:
            raise NotFound(
                f"container {self._container.name} requires {name}, which does not exist",
                hint=f"make it, or change this one with 'wherry update --requires … {self._container.name}'",
            )
        return found

    async def _up(self, required: Container) -> None:
        with trio.move_on_after(UP_TIMEOUT):
            while not _runs(required):
                await self._bring(required)
            return
        raise self._missing(required, f"did not run after {UP_TIMEOUT:.0f} s ({required.phase.value})")

    async def _bring(self, required: Container) -> None:
        if required.phase is Phase.STARTING:
            await required.started.wait()
        elif required.phase is Phase.RESTARTING and not self._asked:
            await self._services.restarts.wait_tried(required)
        elif required.restart.stopped and not self._asked:
            raise self._missing(required, "was stopped", f"start it with 'wherry start {required.name}'")
        else:
            try:
                await self._start(required)
            except WherryError as error:
                if required.alive:
                    return  # somebody was faster
                why = f"could not be started: {error.message}"
                raise self._missing(required, why, error.hint) from error

    async def _healthy(self, required: Container) -> None:
        check = required.config.health
        if check is None:
            if not _runs(required):
                raise self._missing(required, "ended at once", f"see 'wherry logs {required.name}'")
            return
        one = (check.interval or 0) + (check.timeout or 0)
        seconds = (check.start_period or 0) + one * (check.retries or 1) + HEALTH_MARGIN
        with trio.move_on_after(seconds):
            try:
                said = await self._services.health.wait_known(required)
            except Conflict as error:
                raise self._missing(required, f"did not become healthy: {error.message}") from error
            if said != "healthy":
                raise self._missing(required, f"is {said}: {_last_probe(required)}")
            return
        raise self._missing(required, f"did not become healthy in {seconds:.0f} s ({required.phase.value})")

    async def _neighbour(self) -> None:
        """Let the container whose network this one shares come first, when both are started by policy."""
        name = other_container(self._container.config.spec)
        other = None if name is None or self._asked else self._services.registry.names.get(name)
        if other is not None:
            with trio.move_on_after(UP_TIMEOUT):
                await self._services.restarts.wait_tried(other)

    def _missing(self, required: Container, why: str, hint: str | None = None) -> Conflict:
        return Conflict(f"container {self._container.name} requires {required.name}, which {why}", hint=hint)


def _runs(container: Container) -> bool:
    return container.phase in (Phase.RUNNING, Phase.PAUSED)


def _last_probe(container: Container) -> str:
    if container.health is None or not container.health.log:
        return "no probe was done"
    probe = container.health.log[-1]
    output = " ".join(probe.output.split())[:200]
    return f"its last probe ended with {probe.exit_code}" + (f": {output}" if output else "")


async def in_reverse(
    containers: Iterable[Container], registry: Registry, stop: Callable[[Container], Awaitable[None]]
) -> None:
    """Stop containers, all at once but each after those that require it."""
    stopped = {container: trio.Event() for container in containers}

    async def one(container: Container) -> None:
        try:
            for each in dependents(container, registry):
                if each in stopped:
                    await stopped[each].wait()
            await stop(container)
        finally:
            stopped[container].set()

    async with open_nursery() as nursery:
        for container in stopped:
            start_soon(nursery, one, container)
