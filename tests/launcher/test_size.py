"""The launcher stays small and asleep."""

from __future__ import annotations

from pathlib import Path

import trio
from launching import Ground, children, everybody, finish, settled

from wherryd.launcher.handle import open_launcher

LIMIT_KIB = 12 * 1024
QUIET = 1.0  # seconds of watching


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def test_launcher_and_its_worker_stay_within_twelve_mebibytes(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        for _ in range(20):
            await finish(launcher, await launcher.spawn(ground.plan("true")))
        await settled(launcher.pid)  # on a busy machine there were two workers for a moment
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
