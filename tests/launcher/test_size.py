"""The launcher stays small and asleep."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import trio
from launching import Ground, children, finish

from wherryd.launcher.handle import open_launcher

LIMIT_KIB = 12 * 1024
QUIET = 1.0  # seconds of watching


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("voluntary", "nonvoluntary")))


async def test_launcher_and_its_worker_stay_within_twelve_mebibytes(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        for _ in range(20):
            await finish(launcher, await launcher.spawn(ground.plan("true")))
        assert sum(map(pss_kib, [launcher.pid, *children(launcher.pid)])) < LIMIT_KIB


async def test_nothing_wakes_while_containers_idle(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        held = [await launcher.spawn(ground.plan("cat", stdin=True)) for _ in range(5)]
        before = await settled(launcher.pid)
        await trio.sleep(QUIET)
        assert everybody(launcher.pid) == before
        for each in held:
            await finish(launcher, each)


def everybody(launcher: int) -> dict[int, int]:
    """How often launcher, workers and containers have been switched to."""
    return {pid: switches(pid) for pid in (launcher, *children(launcher))}


async def settled(launcher: int) -> dict[int, int]:
    """Wait until the spare network namespace is made, the surplus worker gone, and everybody asleep."""
    with trio.fail_after(10):
        while True:
            with suppress(FileNotFoundError):
                seen = everybody(launcher)
                await trio.sleep(0.2)
                if everybody(launcher) == seen:
                    return seen
