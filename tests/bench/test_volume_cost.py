"""What volumes cost a run: a mount more, read-only all the way down, and filling beside `cp -a`."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from support.busybox import make_directory
from support.daemon import Daemon

from wherry import RunSpec, Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MEMORY = "/dev/shm"
ROUNDS = 40
WARM_UP = 5
SETTLE = 0.01
TRIES = 5
"""The machine is shared: a figure counts when one of so many whole measurements reaches it."""

MOUNT_LIMIT = 0.0025
"""Seconds that a volume may add to a run, also a read-only one with another file system below."""

FILL_RATIO = 0.45
"""Of the speed of `cp -a`."""

FILES, SMALL, BIG = 3000, 4096, 64 << 20


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A supervisor whose layers and volumes are in memory: another's deletions on a disk are not our cost."""
    made = Daemon(MEMORY)
    make_directory(made.root / "image")
    made.start()
    with contextlib.closing(made):
        yield made


@pytest.fixture
def nested(daemon: Daemon) -> Iterator[Path]:
    """A directory with another file system mounted below it."""
    where = daemon.root / "outer"
    (where / "inner").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", where / "inner"], check=True)
    yield where
    subprocess.run(["umount", where / "inner"], check=True)


def test_a_volume_adds_little_to_a_run(
    daemon: Daemon, nested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read-only on every mount below is one system call (mount_setattr, AT_RECURSIVE)."""
    kinds = {
        "none": (),
        "bind": (Volume(source=str(nested), target="/v"),),
        "bind :ro": (Volume(source=str(nested), target="/v", read_only=True),),
        "named": (Volume(source="data", target="/v"),),
    }
    with daemon.client() as client:
        client.create_volume("data")
        runners = {name: _runner(client.run, _spec(daemon, kind)) for name, kind in kinds.items()}
        for _ in range(TRIES):
            medians = _medians(runners)
            added = {name: median - medians["none"] for name, median in medians.items()}
            with capsys.disabled():
                told = ", ".join(f"{name} {seconds * 1e3:+.2f} ms" for name, seconds in added.items())
                print(f"\nmedian of {ROUNDS}: {medians['none'] * 1e3:.2f} ms without a volume; {told}")
            if max(added["bind"], added["bind :ro"]) <= MOUNT_LIMIT:
                return
    pytest.fail(f"a volume adds {added} in each of {TRIES} tries")


def test_filling_a_volume_is_about_as_fast_as_cp(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of small files and a big one; owners, modes, times and attributes are kept by both."""
    source = daemon.root / "image/data"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number}").write_bytes(os.urandom(SMALL))
    (source / "big").write_bytes(os.urandom(BIG))
    volume = Volume(source="", target="/data")
    empty = Volume(source="", target="/data", copy=False)
    with daemon.client() as client:
        for _ in range(TRIES):
            without = statistics.median(_seconds(client.run, _spec(daemon, (empty,))) for _ in range(5))
            ours = statistics.median(_seconds(client.run, _spec(daemon, (volume,))) for _ in range(5))
            copied = statistics.median(_copy(source, daemon.root / "copy") for _ in range(5))
            ratio = copied / (ours - without)
            with capsys.disabled():
                print(f"\nfilling {(ours - without) * 1e3:.0f} ms, cp -a {copied * 1e3:.0f} ms: {ratio:.2f}")
            if ratio >= FILL_RATIO:
                return
    pytest.fail(f"filling has {ratio:.2f} of cp's speed, in each of {TRIES} tries")


def _spec(daemon: Daemon, volumes: tuple[Volume, ...]) -> RunSpec:
    image = str(daemon.root / "image")
    return RunSpec(image=image, command=("/bin/true",), network="none", auto_remove=True, volumes=volumes)


def _runner(run: Callable[[RunSpec], object], spec: RunSpec) -> Callable[[], float]:
    return lambda: _seconds(run, spec)


def _seconds(run: Callable[[RunSpec], object], spec: RunSpec) -> float:
    started = time.perf_counter()
    run(spec)
    return time.perf_counter() - started


def _copy(source: Path, target: Path) -> float:
    started = time.perf_counter()
    subprocess.run(["cp", "-a", source, target], check=True)
    took = time.perf_counter() - started
    shutil.rmtree(target)
    return took


def _medians(runners: dict[str, Callable[[], float]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(-WARM_UP, ROUNDS):
        for name, run in runners.items():
            time.sleep(SETTLE)
            took = run()
            if number >= 0:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}
