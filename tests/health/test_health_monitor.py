"""The monitor on a virtual clock: when it asks, when it does not, and whom it tells."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wherry_protocol.errors import Conflict
from wherry_protocol.health import Health, HealthCheck, Probe
from wherryd.containers.health import HealthWatch
from wherryd.containers.lifecycle import Phase
from wherryd.images.reference import ImageConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHECK = HealthCheck(
    test=("CMD", "ask"), interval=30.0, timeout=4.0, retries=2, start_period=0.0, start_interval=5.0
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class Rig:
    """A running container as far as the monitor looks at it, and a prober that answers as told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.asked: list[float] = []
        self.codes: list[int] = []
        self.lasting = 0.0
        self.cancelled = 0
        self.events: list[str] = []
        self.saved = 0
        self.watch = HealthWatch()
        self.container: Any = SimpleNamespace(
            id="c1", name="web", phase=Phase.RUNNING, alive=True, health=None, ended=trio.Event(),
            pid=None,
            config=SimpleNamespace(
                health=CHECK,
                spec=SimpleNamespace(labels={}),
                image=SimpleNamespace(reference="busybox", config=ImageConfig()),
            ),
        )  # fmt: skip
        self.services: Any = SimpleNamespace(
            registry=[], events=SimpleNamespace(emit=self._emit), records=SimpleNamespace(save=self._save)
        )
        self._began = trio.current_time()

    def begin(self) -> None:
        self.watch.begin(self.services, self.nursery, self._probe)

    def start(self, **check: float) -> None:
        self.begin()
        self.container.config.health = CHECK.replace(**check)
        self.watch.started(self.container)

    async def _probe(self, container: Any, args: tuple[str, ...], seconds: float) -> tuple[int, str]:
        assert (container.id, args, seconds) == ("c1", ("ask",), 4.0)
        self.asked.append(trio.current_time() - self._began)
        try:
            await trio.sleep(self.lasting)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return (self.codes.pop(0) if self.codes else 0), "said"

    def _emit(self, kind: str, action: str, actor: str, facts: dict[str, str]) -> None:
        assert (kind, actor, facts) == ("container", "c1", {"image": "busybox", "name": "web"})
        self.events.append(action)

    def _save(self, container: Any) -> None:
        assert container is self.container
        self.saved += 1


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        yield Rig(nursery)
        nursery.cancel_scope.cancel()


async def test_it_asks_an_interval_after_the_last_answer(rig: Rig) -> None:
    rig.lasting = 2.0
    rig.start()
    await trio.sleep(100)
    assert rig.asked == pytest.approx([30, 62, 94], abs=0.01)
    assert rig.container.health.status == "healthy"
    assert rig.events == ["health_status: healthy"]
    assert rig.saved == 3


async def test_each_change_is_told_once(rig: Rig) -> None:
    rig.codes = [1, 1, 1, 0, 0, 1, 1]
    rig.start()
    await trio.sleep(30 * 7 + 1)
    assert rig.events == [f"health_status: {each}" for each in ("unhealthy", "healthy", "unhealthy")]


async def test_it_asks_faster_while_it_starts(rig: Rig) -> None:
    rig.codes = [1, 1, 1, 0]
    rig.start(start_period=18.0)
    await trio.sleep(60)
    assert rig.asked == pytest.approx([5, 10, 15, 20, 50], abs=0.01)


async def test_nothing_is_asked_while_paused(rig: Rig) -> None:
    """The probe under way is given up, its answer forgotten; the next comes an interval after unpause."""
    rig.lasting = 3.0
    rig.start()
    await trio.sleep(31)
    rig.container.phase = Phase.PAUSED
    rig.watch.paused(rig.container)
    await trio.sleep(1000)
    assert (len(rig.asked), rig.cancelled, rig.saved) == (1, 1, 0)
    rig.container.phase = Phase.RUNNING
    rig.watch.unpaused(rig.container)
    await trio.sleep(29)
    assert len(rig.asked) == 1
    await trio.sleep(2)
    assert len(rig.asked) == 2


async def test_the_end_is_not_waited_for(rig: Rig) -> None:
    """It ends in the middle of a probe: nothing is said of its health, nothing is asked any more."""
    rig.lasting = 1e6
    rig.start()
    await trio.sleep(31)
    rig.container.ended.set()
    await trio.testing.wait_all_tasks_blocked()
    assert (rig.cancelled, rig.saved, rig.events) == (1, 0, [])
    await trio.sleep(1000)
    assert len(rig.asked) == 1


async def test_another_supervisor_goes_on_where_the_last_one_was(rig: Rig) -> None:
    """The next probe comes when it was due, and the streak is remembered."""
    past = Probe(started_at=time.time() - 21, ended_at=time.time() - 20, exit_code=1, output="")
    rig.container.health = Health(failing_streak=1, log=(past,))
    rig.services.registry = [rig.container]
    rig.codes = [1]
    rig.begin()
    await trio.sleep(50)
    assert rig.asked == pytest.approx([10, 40], abs=2)  # of the real clock
    assert rig.events == ["health_status: unhealthy", "health_status: healthy"]


async def test_a_paused_one_found_again_is_left_alone_until_unpaused(rig: Rig) -> None:
    rig.container.phase = Phase.PAUSED
    rig.services.registry = [rig.container]
    rig.begin()
    await trio.sleep(1000)
    assert rig.asked == []
    rig.container.phase = Phase.RUNNING
    rig.watch.unpaused(rig.container)
    await trio.sleep(31)
    assert len(rig.asked) == 1


async def test_whoever_waits_gets_the_first_verdict(rig: Rig) -> None:
    rig.codes = [1, 1, 0]
    rig.start()
    assert await rig.watch.wait_known(rig.container) == "unhealthy"
    assert len(rig.asked) == 2
    await trio.sleep(31)
    assert await rig.watch.wait_known(rig.container) == "healthy"


async def test_whoever_waits_for_what_ends_is_told(rig: Rig) -> None:
    rig.start(interval=math.inf)
    failures: list[Conflict] = []

    async def wait() -> None:
        try:
            await rig.watch.wait_known(rig.container)
        except Conflict as error:
            failures.append(error)

    rig.nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    rig.container.ended.set()
    await trio.testing.wait_all_tasks_blocked()
    assert [error.message for error in failures] == ["container web ended before its health was known"]
    with pytest.raises(Conflict, match="container web is not running"):
        await rig.watch.wait_known(rig.container)
    rig.container.config.health = None
    with pytest.raises(Conflict, match="container web has no healthcheck"):
        await rig.watch.wait_known(rig.container)
