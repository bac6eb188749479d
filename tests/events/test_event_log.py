"""The log by itself, on a real database: numbers, the window, gaps, a disk that is full."""

from __future__ import annotations

import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from support.forms import within

from wherry_protocol.errors import BadRequest, NoSpace
from wherry_protocol.event_log import Event, Missed
from wherryd.containers.records import Records
from wherryd.events import log as module
from wherryd.events.log import BOOT_SKIP, EventLog
from wherryd.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOT = "boot-1"
PATIENCE = within(20.0)


class Rig:
    """A log, its state writer, and the database below them."""

    def __init__(self, path: Path, boot_id: str = BOOT) -> None:
        self.store = Store.open(path)
        self.log = EventLog(self.store, boot_id)
        self.records = Records(self.store, self.log)

    def emit(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.emit("container", "start", "c1", {"name": "web", "number": str(self.log.last + 1)})
        self.records.flush()

    async def read(self, **how: Any) -> list[Event | Missed]:
        """Return what there is now."""
        how = {"after": None, "since": None, "until": time.time_ns(), "wanted": (), **how}
        with trio.fail_after(PATIENCE):
            async with aclosing(self.log.follow(**how)) as events:
                return [event async for event in events]

    async def numbers(self, **how: Any) -> list[int]:
        return [event.seq for event in await self.read(**how) if isinstance(event, Event)]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "state.db")
    with closing(made.store):
        yield made


async def test_what_is_read_is_what_was_told(rig: Rig) -> None:
    before = time.time_ns()
    rig.log.emit("image", "delete", "sha256:1", {"name": "caf\udce9"})
    rig.records.flush()
    (event,) = await rig.read(after=0)
    assert isinstance(event, Event)
    assert (event.seq, event.type, event.action, event.actor) == (1, "image", "delete", "sha256:1")
    assert event.attributes == {"name": "caf\udce9"}
    assert before <= event.time <= time.time_ns()


async def test_what_was_put_off_is_told_before_anything_else_and_before_anybody_looks(rig: Rig) -> None:
    def tell(actor: str) -> None:
        for action in ("one", "two"):
            rig.log.emit("container", action, actor)

    rig.log.later(lambda: tell("a"))
    rig.log.later(lambda: tell("b"))
    rig.log.emit("container", "three", "c")
    rig.log.later(lambda: tell("d"))
    assert rig.log.last == 7
    rig.records.flush()
    told = [(event.actor, event.action) for event in await rig.read(after=0) if isinstance(event, Event)]
    assert told == [
        ("a", "one"),
        ("a", "two"),
        ("b", "one"),
        ("b", "two"),
        ("c", "three"),
        ("d", "one"),
        ("d", "two"),
    ]


async def test_numbers_go_on_over_restarts(tmp_path: Path) -> None:
    for first in (0, 3, 6):
        rig = Rig(tmp_path / "state.db")
        with closing(rig.store):
            assert rig.log.last == first
            rig.emit(3)
            assert await rig.numbers(after=0) == list(range(1, first + 4))


async def test_resuming_after_a_number_is_exact(rig: Rig) -> None:
    rig.emit(2500)
    for place in (0, 1, 99, 100, 101, 2499, 2500):
        assert await rig.numbers(after=place) == list(range(place + 1, 2501))


async def test_a_number_of_another_log_is_refused(rig: Rig) -> None:
    rig.emit(3)
    for after in (4, -1):
        with pytest.raises(BadRequest, match=f"events after {after}: the newest one is 3"):
            await rig.read(after=after)


async def test_since_a_time_leaves_out_what_was_before(rig: Rig) -> None:
    rig.emit(150)
    middle = time.time_ns()
    rig.emit(150)
    assert await rig.numbers(since=middle) == list(range(151, 301))
    assert await rig.numbers(since=0, until=middle) == list(range(1, 151))
    assert await rig.read(since=time.time_ns()) == []


async def test_what_fell_out_of_the_window_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever resumes and to whoever reads since a time; and the database does not grow."""
    monkeypatch.setattr(module, "WINDOW", 500)
    for _ in range(40):
        rig.emit(100)
    first, *rest = await rig.read(after=10)
    assert isinstance(first, Missed)
    numbers = [event.seq for event in rest if isinstance(event, Event)]
    assert (first.first, first.last) == (11, numbers[0] - 1)
    assert first.count == numbers[0] - 11
    assert numbers == list(range(numbers[0], 4001))
    assert 500 <= len(numbers) <= 500 + module.TRIM_EVERY + module.BATCH
    assert (await rig.read(since=0))[0] == Missed(first=1, last=numbers[0] - 1)
    assert len(rig.store.events_after(0, 4000)) <= 9


async def test_a_slow_reader_is_told_what_it_missed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 300)
    events = rig.log.follow(after=None, since=None, until=None, wanted=())
    async with aclosing(events):
        seen: list[Event | Missed] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_take, events, seen, 1)
            await trio.testing.wait_all_tasks_blocked()
            rig.emit()
        for _ in range(20):
            rig.emit(100)
        await _take(events, seen, 2)
    first, missed, after = seen
    assert isinstance(missed, Missed)
    assert isinstance(first, Event)
    assert isinstance(after, Event)
    assert (first.seq, missed.first, missed.last) == (1, 2, after.seq - 1)
    assert missed.count > 1000


async def _take(events: Any, seen: list[Event | Missed], count: int) -> None:
    with trio.fail_after(PATIENCE):
        seen += [await anext(events) for _ in range(count)]


async def test_readers_see_only_what_is_written(rig: Rig) -> None:
    """A killed supervisor gives the numbers that nobody saw again, and no others."""
    rig.emit(2)
    rig.log.emit("container", "die", "c1")
    assert [event.seq for event in rig.log._page(0)] == [1, 2]
    assert rig.log._page(2) == []
    rig.records.flush()
    assert await rig.numbers(after=0) == [1, 2, 3]


async def test_an_end_in_the_past_still_shows_what_waits_to_be_written(rig: Rig) -> None:
    """What happened before the question belongs into its answer."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.records.run)
        rig.log.emit("container", "die", "c1")
        assert await rig.numbers(after=0) == [1]
        nursery.cancel_scope.cancel()


async def test_a_reader_with_an_end_ahead_ends_there(rig: Rig) -> None:
    rig.emit(1)
    started = time.monotonic()
    assert await rig.read(until=time.time_ns() + 200_000_000) == []
    assert 0.2 <= time.monotonic() - started < PATIENCE


async def test_a_retracted_event_leaves_no_hole(rig: Rig) -> None:
    rig.log.emit("container", "create", "c1")
    rig.log.retract()
    rig.emit(2)
    assert await rig.numbers(after=0) == [1, 2]


async def test_a_full_disk_holds_no_event_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are shown, once, and written when there is room again."""

    def full(_last: int, _batch: bytes) -> None:
        raise NoSpace("no room")

    rig.emit(1)
    seen: list[Event | Missed] = []
    events = rig.log.follow(after=0, since=None, until=None, wanted=())
    async with aclosing(events), trio.open_nursery() as nursery:
        monkeypatch.setattr(rig.store, "add_events", full)
        nursery.start_soon(rig.records.run)
        rig.log.emit("container", "log_stuck", "c1")
        await _take(events, seen, 2)
        rig.log.emit("container", "die", "c1")
        await _take(events, seen, 1)
        monkeypatch.undo()
        with trio.fail_after(PATIENCE):
            while rig.log.waiting:
                await trio.sleep(0.01)
        rig.log.emit("container", "destroy", "c1")
        await _take(events, seen, 1)
        nursery.cancel_scope.cancel()
    assert [event.seq for event in seen if isinstance(event, Event)] == [1, 2, 3, 4]
    assert await rig.numbers(after=0) == [1, 2, 3, 4]


async def test_events_that_wait_for_a_full_disk_are_bounded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.store, "add_events", lambda *_: None)
    for _ in range(module.WINDOW + 1000):
        rig.log.emit("container", "start", "c1")
    assert len(rig.log._waiting) == module.WINDOW


@pytest.mark.parametrize("orderly", [True, False])
async def test_numbers_lost_in_a_power_cut_are_not_given_again(tmp_path: Path, orderly: bool) -> None:
    """After a reboot without an orderly end, the log cannot know what it had told last."""
    rig = Rig(tmp_path / "state.db")
    with closing(rig.store):
        rig.emit(3)
        if orderly:
            rig.log.emit("daemon", "stop", "wherry")
            rig.records.flush()
        last = rig.log.last
    rig = Rig(tmp_path / "state.db", "boot-2")
    with closing(rig.store):
        rig.emit(1)
        skipped = 0 if orderly else BOOT_SKIP
        assert await rig.numbers(after=last) == [last + skipped + 1]
        assert len(await rig.read(after=last)) == (1 if orderly else 2)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ((("container", "web"),), [1, 2]),
        ((("container", "c2"),), [3]),
        ((("container", "c"),), [1, 2, 3]),
        ((("event", "start"), ("event", "exec_start")), [1, 2]),
        ((("event", "exec_start: sh -c x"),), [2]),
        ((("type", "image"), ("type", "volume")), [4, 5]),
        ((("label", "tier"),), [1, 3]),
        ((("label", "tier=b"),), [3]),
        ((("image", "busybox"),), [1, 4]),
        ((("image", "abcdef"),), [4]),
        ((("volume", "data"),), [5]),
        ((("label", "tier"), ("container", "web")), [1]),
        ((("type", "container"), ("event", "delete")), []),
    ],
)
async def test_filters(rig: Rig, wanted: tuple[tuple[str, str], ...], numbers: list[int]) -> None:
    """Same key twice: either; different keys: both."""
    for kind, action, actor, facts in (
        ("container", "start", "c1", {"name": "web", "image": "busybox", "tier": "a"}),
        ("container", "exec_start: sh -c x", "c1", {"name": "web"}),
        ("container", "die", "c2", {"name": "db", "tier": "b"}),
        ("image", "delete", "sha256:abcdef", {"name": "busybox"}),
        ("volume", "create", "data", {"driver": "local"}),
    ):
        rig.log.emit(kind, action, actor, facts)
    rig.records.flush()
    assert await rig.numbers(after=0, wanted=wanted) == numbers


@pytest.mark.parametrize("wanted", [("colour", "red"), ("type", "pod"), ("event", "")])
async def test_bad_filters_are_refused(rig: Rig, wanted: tuple[str, str]) -> None:
    with pytest.raises(BadRequest, match=f"filter {wanted[0]}" if wanted[0] != "colour" else "unknown"):
        await rig.read(wanted=(wanted,))
