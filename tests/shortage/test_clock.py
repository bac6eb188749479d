"""A wall clock that jumps by a day, there or back, under a supervisor that waits: no longer, and no shorter.

The machine's clock is never touched: a library shows the supervisor another one (clock.c), as a time
namespace has no wall clock of its own (time_namespaces(7)).
"""

from __future__ import annotations

import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.forms import within
from support.waiting import wait_for

from wherry import RunSpec
from wherry_protocol.health import HealthCheck
from wherry_protocol.restarts import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry import Client

DAY = 86400
DEAF = "trap '' TERM; echo up; while :; do read -t 9 x; done"


class Clock:
    """The clock of one supervisor: seconds by which it is off."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "shift"
        self.jump(0)

    def jump(self, seconds: int) -> None:
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def wherryd_with_clock(library: Path, clock: Clock) -> Iterator[Daemon]:
    daemon = Daemon()
    daemon.prefix = ("env", f"LD_PRELOAD={library}", f"CLOCK_SHIFT={clock.path}")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


def detached(client: Client, image: Path, script: str, **more: object) -> str:
    command = ("sh", "-c", script)
    return client.run_detached(RunSpec(image=str(image), command=command, **more)).id  # type: ignore[arg-type]  # its fields


def probes(client: Client, container: str) -> tuple[float, ...]:
    health = client.inspect(container).health
    assert health is not None
    return tuple(probe.started_at for probe in health.log)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_timeouts_go_on_as_they_were(
    wherryd_with_clock: Daemon, clock: Clock, busybox: Path, seconds: int
) -> None:
    """Of a stop, of probes, of a restart's back-off; and the next supervisor knows how old a container is."""
    daemon = wherryd_with_clock
    failing = HealthCheck(
        test=("CMD", "false"), interval=0.2, timeout=60, retries=1, start_period=3600, start_interval=0.2
    )
    with daemon.client() as client:
        deaf = detached(client, busybox, DEAF, stdin=True)
        assert wait_for(lambda: client.logs(deaf) == b"up\n")
        asked = detached(client, busybox, "exec sleep 1000", health=failing)
        again = detached(client, busybox, "exit 1", restart=RestartPolicy(name="always"))
        assert wait_for(lambda: len(probes(client, asked)) > 0)
        took: list[float] = []
        stopping = threading.Thread(target=_stop, args=(daemon, deaf, took))
        stopping.start()
        time.sleep(0.3)
        clock.jump(seconds)
        stopping.join()
        assert 1.0 <= took[0] < within(4), f"SIGKILL came after {took[0]:.2f} s"
        now = time.time() + seconds
        assert wait_for(lambda: abs(probes(client, asked)[-1] - now) < DAY / 2), "no probe after the jump"
        tries = client.inspect(again).restart_count
        assert wait_for(lambda: client.inspect(again).restart_count > tries), "it is not started again"
        daemon.kill()
        daemon.start()
    with daemon.client() as client:
        before = probes(client, asked)[-1]
        assert wait_for(lambda: probes(client, asked)[-1] > before), "the next supervisor does not probe"
        health = client.inspect(asked).health
        assert health is not None
        assert health.status == "starting", "its start period is taken for over"


def _stop(daemon: Daemon, container: str, took: list[float]) -> None:
    with daemon.client() as client:
        began = time.monotonic()
        client.stop(container, 1.0)
        took.append(time.monotonic() - began)
