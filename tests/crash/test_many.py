"""A supervisor of many containers is killed: the next one is ready soon, and every line and exit is told."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support.forms import rounds, within
from support.proc import process

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client

MANY = rounds(short=40, long=200)
ENDED = MANY // 20
"""How many end while nobody looks, by code and as many by a signal, in each round."""
KILLS = rounds(short=2, long=5)
RATIO = 3.0
"""How many times longer it may take to be ready than with none, which is 0.4 s on a machine that has nothing
else to do; two seconds are promised for 200."""
PATIENCE = within(20.0)
COUNTER = "trap 'echo end; exit 43' TERM; i=0; while :; do echo $i; i=$((i+1)); read -t 0.5 x; done"


def wait_ended(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := process(pid)) is not None and found.state != "Z":
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.01)


def start(client: Client, image: Path, number: int) -> int:
    spec = RunSpec(image=os.fspath(image), command=("sh", "-c", COUNTER), name=f"c{number}", stdin=True)
    client.run_detached(spec)
    pid = client.inspect(spec.name or "").pid
    assert pid is not None
    return pid


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_supervisor_of_many_is_ready_again_soon_and_knows_every_line_and_exit(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """200 with WHERRY_LONG=1."""
    daemon = fresh_wherryd
    empty, full = list[float](), list[float]()
    for _ in range(KILLS):
        daemon.kill()
        daemon.start()
        empty.append(daemon.ready_after)
    with daemon.client() as client:
        pids = {f"c{number}": start(client, busybox, number) for number in range(MANY)}
        expected: dict[str, int] = {}
        alive = list(pids)
        for _ in range(KILLS):
            daemon.kill()
            for code, number in ((43, signal.SIGTERM), (137, signal.SIGKILL)):
                for name in [alive.pop() for _ in range(ENDED)]:
                    os.kill(pids[name], number)
                    expected[name] = code
            for name in expected:
                wait_ended(pids[name])
            daemon.start()
            full.append(daemon.ready_after)
            states = {row.name: row.state for row in client.list(all=True)}
            assert states == dict.fromkeys(alive, "running") | dict.fromkeys(expected, "exited")
        for name in alive:
            os.kill(pids[name], signal.SIGTERM)
            expected[name] = 43
        assert {name: client.wait(name).exit_code for name in pids} == expected
        printed = 0
        for name, code in expected.items():
            lines = client.logs(name).decode().splitlines()
            assert code != 43 or lines.pop() == "end"
            assert lines == [str(number) for number in range(len(lines))], f"{name}: lost or doubled"
            printed += len(lines)
    print(f"{MANY} containers, {printed} lines: ready after {sorted(full)} s, without any {sorted(empty)} s")
    assert min(full) < RATIO * min(empty), (full, empty)
