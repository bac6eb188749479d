"""Exec of /bin/true in a running container through wherry.Client, beside `crun exec`, in one run."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from bench.exec_peer import CrunExec
from support.busybox import make_directory
from support.daemon import Daemon

from wherry import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = "/dev/shm"
ROUNDS = 100
WARM_UP = 10

CRUN_RATIO = 0.3
"""What an exec may take of its time. A quiet machine shows 0.27 to 0.31."""

TRIES = 20
"""The machine is shared, and processes stay where the kernel has put them: a ratio counts when one of so many
whole measurements reaches it, each with a supervisor of its own."""


def test_exec_takes_a_fraction_of_cruns_time(capsys: pytest.CaptureFixture[str]) -> None:
    """The median of both, each from the call to the exit."""
    for tool, package in (("crun", "crun"), ("unshare", "util-linux")):
        assert shutil.which(tool), f"{tool} is missing: apt-get install {package}"
    for _ in range(TRIES):
        medians = _medians()
        ratio = medians["wherry"] / medians["crun"]
        with capsys.disabled():
            told = ", ".join(f"{name} {median * 1e3:.2f} ms" for name, median in medians.items())
            print(f"\nmedian of {ROUNDS} execs: {told}: {ratio:.3f} x crun")
        if ratio <= CRUN_RATIO:
            return
    pytest.fail(f"an exec takes {ratio:.2f} x crun's time, in each of {TRIES} tries")


def _medians() -> dict[str, float]:
    daemon = Daemon(MEMORY)
    folder = daemon.root / "peer"
    folder.mkdir()
    image = make_directory(folder / "image")
    daemon.start()
    with contextlib.closing(daemon), daemon.client() as client, CrunExec(image, folder) as crun:
        client.run_detached(RunSpec(image=str(image), command=("/bin/sleep", "1000"), name="c"))

        def ours() -> float:
            started = time.perf_counter()
            result = client.exec("c", ["/bin/true"])
            took = time.perf_counter() - started
            assert result.exit_code == 0
            return took

        return _measure({"wherry": ours, "crun": crun.seconds})


def _measure(runners: dict[str, Callable[[], float]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runners}
    for round_number in range(-WARM_UP, ROUNDS):
        for name, run in runners.items():
            took = run()
            if round_number >= 0:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}
