"""Readers of a container's files against all that changes its state: nobody hangs, nothing stays frozen."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rig import wait_for

from wherry import RunSpec, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client

ROUNDS = int(os.environ.get("WHERRY_TEST_ROUNDS", "4"))
STEPS = 12


def steps(client: Client, ref: str, folder: Path, seed: int) -> int:
    """Do some of everything; return how much of it worked."""
    choice = random.Random(seed)
    source = folder / f"source{seed}"
    source.write_text("text")
    ways = (
        lambda: client.export(ref, folder / f"{seed}.tar", pause=choice.random() < 0.8),
        lambda: client.copy_in(ref, source, "/tmp"),
        lambda: client.copy_out(ref, "/etc", folder / f"etc{seed}"),
        lambda: client.diff(ref),
        lambda: client.pause(ref),
        lambda: client.unpause(ref),
        lambda: client.kill(ref),
        lambda: client.start(ref),
        lambda: client.stop(ref, 0),
    )
    worked = 0
    for _ in range(STEPS):
        try:
            choice.choice(ways)()
            worked += 1
        except WherryError as error:
            if error.code in {"internal", "connection", "protocol"}:
                raise
    return worked


def test_reading_against_starting_stopping_and_pausing(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """Each call ends well or with a clear refusal; afterwards the container does what it is told."""
    spec = RunSpec(image=str(busybox), command=("sleep", "1000"), name="churned")
    with wherryd.client() as client:
        made = client.run_detached(spec)
        for number in range(ROUNDS):
            with ThreadPoolExecutor(4) as threads:
                seeds = [4 * number + each for each in range(4)]
                done = list(threads.map(lambda seed: steps(client, made.id, tmp_path, seed), seeds))
            assert sum(done) > STEPS // 2, done
            state = client.inspect(made.id).summary.state
            if state == "paused":
                client.unpause(made.id)
            elif state != "running":
                client.start(made.id)
            frozen = wherryd.cgroup / made.id / "cgroup.events"
            assert wait_for(lambda path=frozen: "frozen 0" in path.read_text()), "it stays frozen"
            assert client.diff(made.id) is not None
        client.remove(made.id, force=True)


def test_a_removal_against_readers(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """Whoever reads is told; the container is gone and nothing of it stays."""
    with wherryd.client() as client:
        for number in range(ROUNDS):
            spec = RunSpec(image=str(busybox), command=("sleep", "1000"), name=f"removed{number}")
            made = client.run_detached(spec)

            def read(seed: int, ref: str = made.id) -> None:
                try:
                    while True:
                        client.export(ref, tmp_path / f"{seed}.tar")
                except WherryError as error:
                    assert error.code in {"not_found", "conflict", "kernel"}, error  # noqa: PT017 - a closed set

            with ThreadPoolExecutor(3) as threads:
                readers = [threads.submit(read, seed) for seed in range(2)]
                assert wait_for(lambda: any(tmp_path.glob("*.tar")))
                client.remove(made.id, force=True)
                for reader in readers:
                    reader.result(timeout=30)
            assert made.id not in wherryd.container_ids()
