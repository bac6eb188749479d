"""Starts containers again that have ended and whose restart policy says so.

Owns who waits for the next try (phase RESTARTING) and one task for each: it sleeps until then and costs
nothing meanwhile. Whoever has another plan for such a container takes it off here first. What is due is on
record, so that a killed supervisor's successor goes on waiting.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import WherryError
from wherry_protocol.restarts import NO_RESTART
from wherryd import journal
from wherryd.containers import restart_policy
from wherryd.containers.lifecycle import Event, Phase
from wherryd.containers.telling import tell
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from wherryd.containers.container import Container
    from wherryd.containers.restart_policy import Tries
    from wherryd.containers.services import Services
    from wherryd.containers.starting import Starter

AT_ONCE = 8
"""Starts by policy that are under way at a time: the machine's start is everybody's start."""


class _Waiting:
    """One that waits. `tried` is set when its try is over, or nobody waits any more."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.tried = trio.Event()


class Restarts:
    """The restarts of one supervisor."""

    def __init__(self) -> None:
        self._waiting: dict[Container, _Waiting] = {}
        self._begun: tuple[Services, trio.Nursery, Starter] | None = None
        self._open = trio.Event()
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._closing = False

    def begin(self, services: Services, nursery: trio.Nursery, starter: Starter) -> None:
        """Take what ends from now on; nothing is started before `open`."""
        self._begun = services, nursery, starter

    def open(self) -> None:
        """Start what is due, and what the start of the supervisor starts."""
        services, _, _ = self._parts
        for container in services.registry:
            if container.phase is Phase.RESTARTING:
                self._wait(container)
            elif container.phase is Phase.EXITED and _comes_back(container):
                container.restart.clear()
                self._back_off(container, restart_policy.UNTRIED)
        self._open.set()

    def close(self) -> None:
        """Start nothing any more: the supervisor is about to end. What is due stays on record."""
        self._closing = True
        for container in tuple(self._waiting):
            self.take_off(container)

    def follow(self, container: Container) -> bool:
        """Decide what becomes of a container whose run is over; say whether another one follows."""
        policy, state = container.config.spec.restart, container.restart
        if policy is NO_RESTART or state.stopped or container.keep or self._closing:
            return False
        lasted = state.lasted(container.started_at, container.finished_at)
        failure = restart_policy.failed(container.exit)
        tries = restart_policy.after_end(policy, state.tries, failure=failure, lasted=lasted)
        if tries is not None:
            self._back_off(container, tries)
        return tries is not None

    def take_off(self, container: Container) -> None:
        """Have nobody wait for a container's next try: something else becomes of it."""
        waiting = self._waiting.pop(container, None)
        if waiting is not None:
            waiting.scope.cancel()
            waiting.tried.set()

    def give_up(self, container: Container) -> None:
        """Leave a container that waits for its next try (RESTARTING) as it is: ended."""
        services, _, _ = self._parts
        self.take_off(container)
        container.move(Event.EXIT)
        container.restart.due = None
        _stays_ended(container, services)

    def policy_changed(self, container: Container) -> None:
        """Give up on a container that waits for its next try, if its new policy has none."""
        state = container.restart
        if container.phase is Phase.RESTARTING and not restart_policy.still(
            container.config.spec.restart, state.tries, container.exit
        ):
            self.give_up(container)

    async def wait_tried(self, container: Container) -> None:
        """Wait until the next try of a container has come to its end; not at all when none is to come."""
        waiting = self._waiting.get(container)
        if waiting is not None:
            await waiting.tried.wait()

    @property
    def _parts(self) -> tuple[Services, trio.Nursery, Starter]:
        if self._begun is None:
            raise RuntimeError("restarts have not begun")
        return self._begun

    def _back_off(self, container: Container, tries: Tries) -> None:
        services, _, _ = self._parts
        delay = restart_policy.with_jitter(tries.delay, random.random())  # noqa: S311 - nobody is to guess it
        container.move(Event.BACK_OFF)
        container.restart.wait(tries, delay)
        facts = {"delay": f"{delay:.3f}", "restartCount": str(tries.count)}
        tell(container, services, "back_off", facts)
        services.records.save(container)
        self._wait(container)

    def _wait(self, container: Container) -> None:
        _, nursery, _ = self._parts
        container.next_run()
        container.log.continues = True
        waiting = self._waiting[container] = _Waiting()
        start_soon(nursery, self._again, container, waiting)

    async def _again(self, container: Container, waiting: _Waiting) -> None:
        try:
            error = await self._come(container, waiting)
            async with self._limiter:
                if self._waiting.get(container) is not waiting:
                    return  # somebody else has decided
                del self._waiting[container]
                error = error or await self._start(container)
            if error is not None:
                self._came_to_nothing(container, error)
        finally:
            waiting.tried.set()

    async def _come(self, container: Container, waiting: _Waiting) -> WherryError | None:
        """Wait for the moment, and for what the container requires; return why that did not come."""
        _, _, starter = self._parts
        with waiting.scope:
            await self._open.wait()
            await trio.sleep(container.restart.left)
            try:
                await starter.make_ready(container)
            except WherryError as error:
                return error
        return None

    async def _start(self, container: Container) -> WherryError | None:
        services, _, starter = self._parts
        container.restart.due = None
        try:
            await starter.start_again(container)
        except WherryError as error:
            return error
        container.restart.error = None
        count = str(container.restart.tries.count)
        journal.info("container started again", id=container.id, name=container.name, count=count)
        services.records.save(container)
        return None

    def _came_to_nothing(self, container: Container, error: WherryError) -> None:
        """A try failed: that is an end of a run that lasted no time."""
        services, _, _ = self._parts
        if container.phase is Phase.RESTARTING:
            container.move(Event.EXIT)
        if container.phase is not Phase.EXITED:
            return  # it is being removed, or somebody's own start came first
        state = container.restart
        state.due, state.error = None, str(error)
        journal.error("container not started again", id=container.id, name=container.name, error=error)
        tell(container, services, "restart_failed", {"error": str(error)})
        tries = None
        if not (state.stopped or self._closing):
            policy = container.config.spec.restart
            tries = restart_policy.after_end(policy, state.tries, failure=True, lasted=0)
        if tries is None:
            _stays_ended(container, services)
        else:
            self._back_off(container, tries)


def _stays_ended(container: Container, services: Services) -> None:
    container.log.close()
    services.records.save(container)
    container.ended.call_off(container.exit)


def _comes_back(container: Container) -> bool:
    state = container.restart
    return container.started_at is not None and restart_policy.at_start(
        container.config.spec.restart, state.tries, container.exit, stopped=state.stopped
    )
