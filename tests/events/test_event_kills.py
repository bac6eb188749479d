"""SIGKILL for the supervisor while events are told and read: none is lost, doubled or renumbered."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from support.forms import within

from wherry import Client, ConnectionFailed, Event, NotFound, RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

EVENTS = 1000
KILLS = 6
RUNNERS = 4
PATIENCE = within(60.0)

LIVES = (
    ["create", "start", "die", "destroy"],
    ["create", "destroy"],
)
"""A whole life, and that of a container whose start the supervisor did not survive."""


class Reader(threading.Thread):
    """Follows from the start of the log, and after each loss of the connection goes on where it was."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._client = Client(daemon.run_dir, autostart=False)
        self.seen: list[Event] = []
        self.refused: BaseException | None = None
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._follow()
            except ConnectionFailed:
                time.sleep(0.01)
            except BaseException as error:
                self.refused = error
                raise
        self._client.close()

    def wait_for(self, count: int) -> None:
        """Wait until so many events have come."""
        deadline = time.monotonic() + PATIENCE
        while len(self.seen) < count and self.refused is None:
            assert time.monotonic() < deadline, f"only {len(self.seen)} events"
            time.sleep(0.001)

    def _follow(self) -> None:
        place = self.seen[-1].seq if self.seen else 0
        with self._client.events(after=place) as events:
            for event in events:
                assert isinstance(event, Event), f"{event} is within the kept window"
                self.seen.append(event)
                if self.over.is_set():
                    return


def keep_running(daemon: Daemon, image: Path, over: threading.Event) -> None:
    """Run short containers until told otherwise, whatever happens to the supervisor."""
    spec = RunSpec(image=str(image), command=("sleep", "0.02"), auto_remove=True)
    with Client(daemon.run_dir, autostart=False) as client:
        while not over.is_set():
            try:
                client.run(spec)
            except ConnectionFailed:
                time.sleep(0.01)


@contextmanager
def runners(daemon: Daemon, image: Path) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=keep_running, args=(daemon, image, over)) for _ in range(RUNNERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


def test_a_thousand_events_in_order_over_killed_supervisors(fresh_wherryd: Daemon, busybox: Path) -> None:
    """A reader that resumes after its last number sees each once, and each container's life whole."""
    daemon = fresh_wherryd
    reader = Reader(daemon)
    reader.start()
    with runners(daemon, busybox):
        for round_number in range(1, KILLS + 1):
            reader.wait_for(EVENTS * round_number // KILLS)
            daemon.kill()
            daemon.start()
        reader.wait_for(EVENTS)
    reader.over.set()
    with daemon.client() as client:
        for row in client.list():
            with suppress(NotFound):
                client.wait(row.id)
        # What outlived its supervisor stays a moment for those who come back for it.
        deadline = time.monotonic() + PATIENCE
        while client.list(all=True):
            assert time.monotonic() < deadline, client.list(all=True)
            time.sleep(0.05)
        client.remove(client.create(RunSpec(image=str(busybox), command=("true",))).id)
        reader.join(PATIENCE)
        assert reader.refused is None
        seen = reader.seen
        assert len(seen) >= EVENTS
        numbers = [event.seq for event in seen]
        holes = [pair for pair in zip(numbers, range(1, len(numbers) + 1), strict=True) if pair[0] != pair[1]]
        assert not holes, f"(number, expected): {holes[:3]}"
        with client.events(after=0, until=time.time()) as events:
            kept = list(events)
        assert kept[: len(seen)] == seen, "what was seen is not what is kept"
    assert_whole_lives([event for event in kept if isinstance(event, Event)])


def assert_whole_lives(events: list[Event]) -> None:
    """Fail unless every container was told of from create to destroy, each step once."""
    lives: dict[str, list[str]] = {}
    for event in events:
        if event.type == "container" and event.action not in ("attach", "detach"):
            lives.setdefault(event.actor, []).append(event.action)
    wrong = {actor: life for actor, life in lives.items() if life not in LIVES}
    assert not wrong, f"{len(wrong)} of {len(lives)} lives are not whole: {list(wrong.items())[:3]}"
    assert sum(life == LIVES[0] for life in lives.values()) > EVENTS // 10


def test_ends_that_nobody_saw_are_told_once(fresh_wherryd: Daemon, busybox: Path) -> None:
    """With their codes, by the next supervisor, and not again by the one after it."""
    daemon = fresh_wherryd
    codes = {str(number): str(number + 3) for number in range(8)}
    with daemon.client() as client:
        for name, code in codes.items():
            command = ("sh", "-c", f"sleep 0.3; exit {code}")
            client.run_detached(RunSpec(image=str(busybox), command=command, name="c" + name))
    daemon.kill()
    time.sleep(0.5)
    for _ in range(3):
        daemon.start()
        with daemon.client() as client, client.events(after=0, until=time.time()) as events:
            dies = [each for each in events if isinstance(each, Event) and each.action == "die"]
        assert {each.attributes["name"]: each.attributes["exitCode"] for each in dies} == {
            "c" + name: code for name, code in codes.items()
        }
        assert len(dies) == len(codes)
        daemon.kill()
    daemon.start()
