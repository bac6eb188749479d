"""What the log of events costs a run when nobody reads it: the five of a short run, told and written."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wherryd.events.log import EventLog
from wherryd.store import Store

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 2000
ACTIONS = ("create", "attach", "start", "die", "destroy")

TOLD = 20e-6
"""Seconds on the way of a run for its five events: what `emit` takes."""

WRITTEN = 60e-6
"""More seconds for the commit that takes the five along. It has work of its own, 20 µs, also without them."""

TRIES = 5
"""The machine is shared: one of so many whole measurements has to reach it."""


def test_the_events_of_a_run_cost_microseconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(tmp_path / "state.db")
    with closing(store):
        log = EventLog(store, "boot")
        for _ in range(TRIES):
            told, with_events, without = _measure(store, log)
            with capsys.disabled():
                told_text = (
                    f"told in {told * 1e6:.1f} µs; a commit takes {with_events * 1e6:.1f} µs with them"
                )
                print(f"\nevents of a run: {told_text}, {without * 1e6:.1f} µs without")
            if told <= TOLD and with_events - without <= WRITTEN:
                return
    pytest.fail(f"telling takes {told * 1e6:.1f} µs, writing {(with_events - without) * 1e6:.1f} µs more")


def _measure(store: Store, log: EventLog) -> tuple[float, float, float]:
    times: dict[str, list[float]] = {"told": [], "with": [], "without": []}
    for number in range(ROUNDS):
        started = time.perf_counter()
        _tell(log)
        times["told"].append(time.perf_counter() - started)
        for kind in ("with", "without"):
            started = time.perf_counter()
            with store.transaction():
                log.write()
                store.add_container(
                    container_id=f"{kind}{number}", name=f"{kind}{number}", config={}, status={}
                )
            log.written()
            times[kind].append(time.perf_counter() - started)
        with store.transaction():
            store.remove_container(f"with{number}")
            store.remove_container(f"without{number}")
    told, with_events, without = (statistics.median(each) for each in times.values())
    return told, with_events, without


def _tell(log: EventLog) -> None:
    for action in ACTIONS:
        facts = {**LABELS, "image": "busybox", "name": "quiet_barge"}
        log.emit("container", action, "5d" * 32, facts)


LABELS: dict[str, str] = {}
