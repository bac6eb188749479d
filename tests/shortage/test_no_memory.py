"""A supervisor, or a launcher, that gets no memory: answers, or an end that costs nothing.

Who is killed for that, by the kernel or by itself (wherryd/no_memory.py), has a successor that knows all.
"""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from memorykit import Allocations, Siege
from support import proc
from support.daemon import Daemon
from support.forms import rounds
from support.starving import address_space, busy, memory_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.busybox import Archives

KIB, MIB = 1 << 10, 1 << 20
ENDED = 1
"""How a supervisor ends by itself."""

SPARES = (MIB, 64 * KIB)
MANY = 200
ROUNDS = rounds(short=0, long=300)
KNOWN = ((3771, 30), (12, 1))
"""Where requests once had no end: what was granted, what was refused."""

FARTHEST = 4.5
"""A round's requests want memory some 30,000 times: this is the logarithm."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("allocations") / "allocations.so"
    source = Path(__file__).with_name("allocations.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


def launchers(daemon: Daemon) -> list[int]:
    """Return the ids of the launcher and its workers."""
    found = proc.descendants(daemon.launcher_pid)
    return [each.pid for each in found if each.name.startswith("wherryd")]


@pytest.fixture
def allocations(library: Path, tmp_path: Path) -> Allocations:
    return Allocations(library, tmp_path / "wanted")


@pytest.fixture
def refused_wherryd(allocations: Allocations) -> Iterator[Daemon]:
    """A supervisor whose every request for memory can be refused."""
    daemon = Daemon()
    daemon.prefix = allocations.prefix
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.mark.timeout(3600)
def test_whichever_request_for_memory_is_refused_nothing_is_lost(
    refused_wherryd: Daemon, allocations: Allocations, busybox: Path, busybox_tar: Archives
) -> None:
    """Refused once, a few times or many, anywhere: a request's end, or that of the supervisor."""
    seed = 5
    chance = random.Random(seed)
    siege = Siege(refused_wherryd, busybox, busybox_tar)
    others = [(int(10 ** chance.uniform(0, FARTHEST)), chance.choice((1, 5, MANY))) for _ in range(ROUNDS)]
    for after, times in (*KNOWN, *others):
        try:
            siege.round(lambda: allocations.refused(refused_wherryd.pid, after=after, times=times))  # noqa: B023 - it is used here
        except BaseException as error:
            error.add_note(f"refused {times} times after {after}: {siege.asked}")
            raise
    assert busy(refused_wherryd.pid) < 0.5, "it spins"
    assert siege.died, "it never met the end of memory"
    assert set(siege.died) == {ENDED}
    siege.settle()
    print(f"{len(KNOWN) + ROUNDS} rounds, {len(siege.died)} ends")


def test_a_supervisor_that_may_not_grow_loses_nothing(
    fresh_wherryd: Daemon, busybox: Path, busybox_tar: Archives
) -> None:
    """Nothing beyond what it has, then a little more: as where the machine does not overcommit."""
    siege = Siege(fresh_wherryd, busybox, busybox_tar)
    for spare in (0, 256 * KIB, MIB, 4 * MIB):
        siege.round(lambda: address_space(fresh_wherryd.pid, but=spare))  # noqa: B023 - it is used here
    # Where the stack cannot grow, or the event loop fell and waits for a thread, it is the kernel's to end.
    assert set(siege.died) <= {ENDED, -signal.SIGSEGV, -signal.SIGALRM}
    assert any(said for _, said in siege.asked), "it was never short of memory"
    siege.settle()
    print(f"{len(siege.died)} ends; {[said for said in siege.asked if said[1]]}")


def test_a_supervisor_in_too_small_a_group_loses_nothing(
    fresh_wherryd: Daemon, busybox: Path, busybox_tar: Archives
) -> None:
    """The kernel kills it, or a worker of its; that is no OOM of a container's."""
    siege, kills = Siege(fresh_wherryd, busybox, busybox_tar), 0
    for spare in SPARES:
        with memory_group(fresh_wherryd.pid) as group:
            siege.round(lambda: group.limited(spare))  # noqa: B023 - it is used here
            kills += group.oom_kills
    assert kills, "the kernel has killed nobody"
    assert set(siege.died) == {-signal.SIGKILL}
    siege.settle()
    print(f"{len(siege.died)} ends, {kills} OOM kills; {[said for said in siege.asked if said[1]]}")


def test_a_launcher_in_too_small_a_group_loses_nothing(
    fresh_wherryd: Daemon, busybox: Path, busybox_tar: Archives
) -> None:
    """The kernel may kill it, or a worker of its, or what it has just forked; then another has the rest."""
    siege, kills = Siege(fresh_wherryd, busybox, busybox_tar), 0
    for spare in (MIB, 16 * KIB, 0):
        with memory_group(*launchers(fresh_wherryd)) as group:
            siege.round(lambda: group.limited(spare))  # noqa: B023 - it is used here
            kills += group.oom_kills
    assert not siege.died
    siege.settle(orphans=True)
    print(f"{kills} OOM kills; {[said for said in siege.asked if said[1]]}")
