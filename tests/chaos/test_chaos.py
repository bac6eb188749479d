"""Whatever dies, stops or is filled, in whatever order: every line, exit code and OOM flag is accounted for.

The order comes from a seed, which is printed; WHERRY_CHAOS_SEED repeats it. What may be lost: see fleet.py.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from fleet import Fleet, Sums
from support.forms import LONG, rounds, within
from support.proc import descendants
from support.releases import Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.daemon import Daemon

FLEET = 4
PATIENCE = within(20.0)
PLAN = {
    "kill the supervisor": rounds(short=3, long=100),
    "kill the launcher": rounds(short=1, long=20),
    "kill both": rounds(short=1, long=5),
    "stop the supervisor": rounds(short=1, long=10),
    "stop the launcher": rounds(short=1, long=10),
    "kill the network process": rounds(short=1, long=10),
    "fill the disk": rounds(short=1, long=10),
    "flush the rules": rounds(short=1, long=10),
    "change the release": rounds(short=0, long=10),
}
"""How often each thing happens."""


class Chaos:
    """One run: what happens to one supervisor and its fleet."""

    def __init__(self, daemon: Daemon, fleet: Fleet, random: Random, folder: Path) -> None:
        self.daemon = daemon
        self.fleet = fleet
        self.random = random
        self.done: Counter[str] = Counter()
        self.last = ""
        self.sums = Sums()
        self._folder = folder
        self._release: Release | None = None

    def run(self) -> None:
        """Do everything of the plan, in an order of chance."""
        events = [what for what, times in PLAN.items() for _ in range(times)]
        self.random.shuffle(events)
        for what in events:
            self._fill_up()
            time.sleep(self.random.uniform(0, 0.2))
            self.last = what
            self._does(what)()
            self.done[what] += 1
            with self.daemon.client() as client:
                self.fleet.account(client, self.sums)
        self._fill_up()
        self.fleet.end_all()
        with self.daemon.client() as client:
            self.fleet.account(client, self.sums)

    def _does(self, what: str) -> Callable[[], None]:
        found: Callable[[], None] = getattr(self, what.replace(" the ", " ").replace(" ", "_"))
        return found

    def _fill_up(self) -> None:
        with self.daemon.client() as client:
            while len(self.fleet.alive) < FLEET:
                self.fleet.start(client)

    def _end_some(self) -> None:
        for _ in range(self.random.randrange(3)):
            self.fleet.end_one()

    def kill_supervisor(self) -> None:
        """It is away for a moment, in which some end."""
        self.daemon.kill()
        self._end_some()
        time.sleep(self.random.uniform(0, 0.2))
        self.daemon.start()

    def kill_launcher(self) -> None:
        """What it held goes on, and another one has it, also for the supervisor's successor."""
        killed = self.random.choice(self._launchers())
        os.kill(killed, signal.SIGKILL)
        self.fleet.launcher_died()
        self._end_some()
        deadline = time.monotonic() + PATIENCE
        while killed in (launchers := self._launchers()) or not self.fleet.held_by(launchers):
            assert time.monotonic() < deadline, "nobody has what the launcher held"

    def kill_both(self) -> None:
        """Nobody is left who holds anything."""
        launchers = self._launchers()
        self.daemon.look_around()
        with ExitStack() as stack:
            for launcher in launchers:
                stack.enter_context(_stopped(launcher))
            self._end_some()
            self.daemon.kill()
            for launcher in launchers:
                os.kill(launcher, signal.SIGKILL)
        self.fleet.both_died()
        self.daemon.start()

    def stop_supervisor(self) -> None:
        """It hangs for a while."""
        with _stopped(self.daemon.pid):
            self._end_some()
            time.sleep(self.random.uniform(0.1, 0.5))

    def stop_launcher(self) -> None:
        """As it does."""
        with _stopped(self.random.choice(self._launchers())):
            self._end_some()
            time.sleep(self.random.uniform(0.1, 0.5))

    def change_release(self) -> None:
        """Another one takes over, with a launcher of its own; the files of the one before are deleted."""
        left, self._release = self._release, None
        if left is None:
            self._release = Release(self._folder / f"release-{self.done['change the release']}")
        self.daemon.kill()
        self._end_some()
        if left is not None:
            left.delete()
        self.daemon.python = sys.executable if self._release is None else self._release.python
        self.daemon.start()

    def _launchers(self) -> list[int]:
        """Return the launcher that takes work, and then those that only keep what they hold."""
        with self.daemon.client() as client:
            info = client.info()
        drain = [re.match(r"launcher (\d+) is of another release", line) for line in info.warnings]
        return [*filter(None, (info.launcher_pid,)), *(int(each[1]) for each in drain if each)]

    def kill_network_process(self) -> None:
        """It has no state: a new one goes on."""
        for each in descendants(self.daemon.pid):
            if each.parent == self.daemon.pid and "netw" in each.name:
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
        self._end_some()

    def fill_disk(self) -> None:
        """Writers wait, and go on when there is room; some end meanwhile."""
        ballast = self.daemon.state_dir.parent / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        self._end_some()
        time.sleep(self.random.uniform(0.1, 0.5))
        ballast.unlink()

    def flush_rules(self) -> None:
        """Somebody removes all rules there are."""
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        self._end_some()


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(7200 if LONG else 120)
def test_every_line_and_every_end_is_accounted_for(
    chaos_wherryd: Daemon, writer_image: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("WHERRY_CHAOS_SEED") or secrets.randbits(32))
    print(f"WHERRY_CHAOS_SEED={seed}")
    fleet = Fleet(writer_image, tmp_path, Random(seed))
    chaos = Chaos(chaos_wherryd, fleet, fleet.random, tmp_path)
    began = time.monotonic()
    try:
        chaos.run()
    except BaseException as error:
        error.add_note(f"WHERRY_CHAOS_SEED={seed}: {chaos.last}, after {dict(chaos.done)}")
        raise
    finally:
        fleet.close()
    took = time.monotonic() - began
    print(f"{sum(chaos.done.values())} events in {took:.0f} s: {dict(chaos.done)}; {chaos.sums}")
