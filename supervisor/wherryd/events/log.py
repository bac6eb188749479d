"""Numbers events, has them written together with the state they tell of, and lets readers follow.

An event waits in memory for the state writer's next commit (records.py), and readers see it after that. So a
killed supervisor leaves events and state that agree: what its successor finds to be otherwise than the state
says is exactly what still has to be told, and no number that somebody saw is ever given again.

Never does IO of its own while something happens: `emit` is a few microseconds, and no reader is waited for.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgpack as untyped_msgpack  # type: ignore[import-untyped]  # it has no types
import trio

from wherry_protocol.errors import BadRequest
from wherry_protocol.event_log import Event, Missed
from wherryd.events import filters
from wherryd.events.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from wherryd.store import Store

    Filters = tuple[tuple[str, str], ...]
    Entry = tuple[int, int, str, str, str, Mapping[str, str]]

_msgpack: Any = untyped_msgpack
_packer: Any = _msgpack.Packer(unicode_errors="surrogateescape")

WINDOW = 20_000
"""Events kept: some 5 MiB of the database, and hours of a busy host."""

TRIM_EVERY = 250
"""Events between two removals of what fell out of the window: each is then short."""

BATCH = 100
"""Events in one row of the database."""

PAGE = 10
"""Rows that a reader takes at once: it holds the event loop for a millisecond at most."""

BOOT_SKIP = 100_000
"""Numbers left out when the host went down under us: a power cut may have taken the last seconds' events."""

NO_FACTS: Mapping[str, str] = {}


class EventLog:
    """The events of one supervisor. `last` is the newest one's number; `readers` how many follow now.

    `tally` counts what happened since the start. While the database cannot be written (`stuck`), readers see
    what waits all the same.
    """

    def __init__(self, store: Store, boot_id: str) -> None:
        self._store = store
        self._last = _last_number(store, boot_id)
        self._late: list[Callable[[], None]] = []
        self.readers = 0
        self.stuck = False
        self.tally = Tally()
        self.on_emit: Callable[[], None] = _nobody_writes
        self._waiting: deque[Entry] = deque(maxlen=WINDOW)
        self._trim_at = self._last + TRIM_EVERY
        self._news = trio.Event()

    @property
    def last(self) -> int:
        """The newest event's number."""
        self.catch_up()
        return self._last

    # -- telling --------------------------------------------------------------------------------------------

    def emit(self, kind: str, action: str, actor: str, attributes: Mapping[str, str] = NO_FACTS) -> None:
        """Tell that something happened: docker's type, its action, the id, and lasting facts."""
        self.catch_up()
        self._last += 1
        self.tally.event(kind, action)
        self._waiting.append((self._last, time.time_ns(), kind, action, actor, attributes))
        self.on_emit()
        if self.stuck:
            self._wake()

    def later(self, tell: Callable[[], None]) -> None:
        """Have a function tell of what happened now when there is time, and before anything else is told."""
        self._late.append(tell)

    def catch_up(self) -> None:
        """Tell what was put off."""
        late, self._late = self._late, []
        for tell in late:
            tell()

    def retract(self) -> None:
        """Take the newest event back: what it told of could not be written, and nothing else came after."""
        self._waiting.pop()
        self._last -= 1

    # -- writing, by the state writer -----------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there are events to be written."""
        return bool(self._waiting)

    def write(self) -> None:
        """Write what waits; inside the transaction that writes the state it tells of. Raises NoSpace."""
        entries = tuple(self._waiting)
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            self._store.add_events(batch[-1][0], _pack(batch))
        if self._last >= self._trim_at:
            self._store.drop_events(self._last - WINDOW)

    def written(self) -> None:
        """Take note that the transaction is committed, and wake the readers."""
        if not self._waiting:
            return
        self._waiting.clear()
        if self._last >= self._trim_at:
            self._trim_at = self._last + TRIM_EVERY
        self._wake()

    def set_stuck(self, stuck: bool) -> None:
        """Say whether the database cannot be written at present."""
        if stuck != self.stuck:
            self.stuck = stuck
            self._wake()

    def _wake(self) -> None:
        if self.readers:
            self._news.set()
            self._news = trio.Event()

    # -- reading --------------------------------------------------------------------------------------------

    async def follow(
        self, *, after: int | None, since: int | None, until: int | None, wanted: Filters
    ) -> AsyncGenerator[Event | Missed]:
        """Yield events after a number, or since a time, else new ones; to be closed with `aclosing`.

        Times are nanoseconds since the epoch; without `until` there is no end. Raises BadRequest.
        """
        filters.check(wanted)
        place = self._start(after, since)
        self.readers += 1
        try:
            while True:
                news = self._news
                page = self._page(place)
                for event in page:
                    if event.seq > place + 1:
                        yield Missed(first=place + 1, last=event.seq - 1)
                    place = event.seq
                    if until is not None and event.time >= until:
                        return
                    if (since is None or event.time >= since) and filters.matches(event, wanted):
                        yield event
                if not page and not await self._more(news, until, place):
                    return
                await trio.lowlevel.checkpoint()
        finally:
            self.readers -= 1

    def _start(self, after: int | None, since: int | None) -> int:
        """Return the number after which to read."""
        if after is not None:
            if not 0 <= after <= self.last:
                raise BadRequest(
                    f"events after {after}: the newest one is {self.last}",
                    hint="is that number another supervisor's?",
                )
            return after
        if since is None:
            return self.last
        page = self._page(0)
        # What is gone was older than the oldest one that is there: does it matter?
        return page[0].seq - 1 if page and page[0].time < since else 0

    async def _more(self, news: trio.Event, until: int | None, place: int) -> bool:
        """Wait for news at the end of the log; say whether there may be any before `until`."""
        if until is not None:
            left = (until - time.time_ns()) / 1e9
            if left <= 0 and place >= self.last:
                return False
            if left > 0:
                with trio.move_on_after(left):
                    await news.wait()
                return True
        await news.wait()
        return True

    def _page(self, place: int) -> list[Event]:
        """Return some of the events after a number, oldest first; none at the end."""
        rows = self._store.events_after(place, PAGE)
        found = [entry for row in rows for entry in _unpack(row) if entry[0] > place]
        if not found and self.stuck:
            found = [entry for entry in self._waiting if entry[0] > place][:BATCH]
        return [_event(entry) for entry in found]


def begin_at(store: Store, number: int, actor: str, facts: Mapping[str, str]) -> None:
    """Let a new database's events begin above `number`, which tells why; inside a transaction."""
    entry: Entry = (number, time.time_ns(), "daemon", "rebuild", actor, facts)
    store.add_events(number, _pack((entry,)))


def _last_number(store: Store, boot_id: str) -> int:
    last = store.last_event()
    known = store.meta("events_boot_id")
    if known == boot_id:
        return last
    store.set_meta("events_boot_id", boot_id)
    rows = store.events_after(last - 1, 1)
    orderly = not rows or _unpack(rows[0])[-1][2:4] == ["daemon", "stop"]
    return last if orderly else last + BOOT_SKIP


def _pack(entries: Sequence[Entry]) -> bytes:
    packed: bytes = _packer.pack(entries)
    return packed


def _unpack(row: bytes) -> list[Any]:
    entries: list[Any] = _msgpack.unpackb(row, unicode_errors="surrogateescape")
    return entries


def _event(entry: Sequence[Any]) -> Event:
    seq, when, kind, action, actor, attributes = entry
    return Event(seq=seq, time=when, type=kind, action=action, actor=actor, attributes=attributes)


def _nobody_writes() -> None:
    """Before the state writer is there: it looks for what waits when it starts."""
