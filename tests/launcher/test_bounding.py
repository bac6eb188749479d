"""What containers keep of capabilities, whatever those before them left to the workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from launching import TIMEOUT, Ground, finish, read_all

from wherryd.kernel.capabilities import NUMBERS
from wherryd.launcher.exec_plan import beside
from wherryd.launcher.handle import open_launcher
from wherryd.launcher.plan import Plan

if TYPE_CHECKING:
    from wherryd.launcher.handle import Launcher

FEW = ("chown", "kill")
WIDE = ("chown", "kill", "sys_ptrace", "net_admin")
READ = ("sh", "-c", "grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status")


def with_capabilities(plan: Plan, names: tuple[str, ...]) -> Plan:
    return Plan(**{**plan.__dict__, "capabilities": names})


def ours() -> tuple[str, ...]:
    """Return all that may be given: what we have."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    has = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm"))
    return tuple(name for name, number in NUMBERS.items() if has >> number & 1)


def mask(names: tuple[str, ...]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def expected(names: tuple[str, ...]) -> dict[str, int]:
    has = mask(names)
    return {"CapInh": 0, "CapPrm": has, "CapEff": has, "CapBnd": has, "CapAmb": 0}


def shown(text: str) -> dict[str, int]:
    return {name: int(value, 16) for name, _, value in (line.partition(":\t") for line in text.splitlines())}


async def sets(ground: Ground, launcher: Launcher, names: tuple[str, ...]) -> dict[str, int]:
    held = await launcher.spawn(with_capabilities(ground.plan(*READ), names))
    return shown((await finish(launcher, held))[1])


async def test_each_has_exactly_its_own_whoever_came_before(ground: Ground) -> None:
    """A worker keeps what its first order needs: an order for more goes to another one."""
    usual = ground.plan("true").capabilities
    async with open_launcher(ground.run_dir) as launcher:
        for names in (usual, FEW, (), usual, WIDE, FEW, WIDE, usual, ours(), FEW):
            assert await sets(ground, launcher, names) == expected(names), names


async def test_each_has_exactly_its_own_at_once(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:

        async def one(names: tuple[str, ...]) -> None:
            assert await sets(ground, launcher, names) == expected(names), names

        with trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:
                for names in (FEW, WIDE, (), FEW, WIDE, ()) * 3:
                    nursery.start_soon(one, names)


async def test_who_joins_has_what_its_container_has(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert await sets(ground, launcher, FEW) == expected(FEW)
        plan = with_capabilities(ground.plan("cat", stdin=True), WIDE)
        held = await launcher.spawn(plan)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        own = beside(plan, id="e" * 64, args=READ, streams=(1,))
        joined = await launcher.join(own, b"", held.pidfd, (writing,))
        os.close(writing)
        with trio.fail_after(TIMEOUT):
            assert shown((await read_all(reading)).decode()) == expected(WIDE)
        joined.close()
        launcher.release("e" * 64)
        await finish(launcher, held)
