"""What limits add to start-to-exit of /bin/true, interleaved in one run with a container that has none."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from support.busybox import make_directory
from support.daemon import Daemon
from support.groupkit import tree_of

from wherry import RunSpec
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from wherry import Client

ROUNDS = 60
WARM_UP = 10
SETTLE = 0.01
"""Seconds of rest before each run: what the one before left to be done is not the next one's."""

TRIES = 3
"""The machine is shared: a ratio counts when one of so many whole measurements reaches it."""

RATIOS = {2: 1.15, 1: 1.3}
"""By the version of cgroups that has the cpu controller: on v1 it is one more hierarchy to make and join."""

LIMITS = Limits(memory=64 << 20, pids=100, cpu_quota=50_000)


def test_limits_add_little_to_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory, processes and cpu time bounded: at most 15 % more on v2."""
    daemon = Daemon("/dev/shm")
    folder = daemon.root / "peers"
    folder.mkdir()
    image = str(make_directory(folder / "image"))
    plain = RunSpec(image=image, command=("/bin/true",), auto_remove=True, network="none")
    specs = {"none": plain, "limits": plain.replace(limits=LIMITS)}
    daemon.start()
    with contextlib.closing(daemon), daemon.client() as client:
        version = tree_of(daemon).version_of("cpu") or 1
        for _ in range(TRIES):
            medians = measure(client, specs)
            ratio = medians["limits"] / medians["none"]
            with capsys.disabled():
                told = ", ".join(f"{name} {median * 1e3:.2f} ms" for name, median in medians.items())
                print(f"\nmedian of {ROUNDS}, cgroup v{version}: {told}: {ratio:.2f} x")
            if ratio <= RATIOS[version]:
                return
    pytest.fail(f"limits make a start {ratio:.2f} x as long, in each of {TRIES} tries")


def measure(client: Client, specs: dict[str, RunSpec]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in specs}
    for number in range(-WARM_UP, ROUNDS):
        for name, spec in specs.items():
            time.sleep(SETTLE)
            started = time.perf_counter()
            assert client.run(spec).exit_code == 0
            if number >= 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}
