"""What a container sees of the memory of who enters it, in the moment before it is the command's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from launching import TIMEOUT, Ground, finish

from wherryd.launcher.exec_plan import Sandbox, beside
from wherryd.launcher.handle import open_launcher
from wherryd.launcher.plan import Plan

if TYPE_CHECKING:
    from wherryd.launcher.handle import Launcher, Spawned

ENTRIES = 150

LOOK = """
while [ ! -e /stop ]; do
    for p in /proc/[0-9]*; do
        [ $p = /proc/1 ] || while read -r line; do echo "$line"; done < $p/maps
    done 2>/dev/null
done | sort -u
"""


async def enter(launcher: Launcher, plan: Plan, container: Spawned, *command: str, user: str = "") -> None:
    own = {"id": "e" * 64, "args": command, "streams": (), "user": user}
    sandbox = Sandbox.of(plan, memory_bounded=False)
    joined = await launcher.join(beside(plan, sandbox=sandbox, **own), b"", container.pidfd, ())
    os.close(joined.pidfd)
    await launcher.wait_exit("e" * 64)
    launcher.release("e" * 64)


@pytest.mark.parametrize("user", ["", "user"])
@pytest.mark.parametrize("more", [(), ("sys_ptrace",)])
async def test_nothing_of_our_memory_is_seen_inside(ground: Ground, more: tuple[str, ...], user: str) -> None:
    """With CAP_SYS_PTRACE it may look into all that is there, and that is a copy without anything of ours."""
    plan = ground.plan("sh", "-c", LOOK, stdin=True)
    plan = Plan(**{**plan.__dict__, "capabilities": (*plan.capabilities, *more)})
    async with open_launcher(ground.run_dir) as launcher:
        container = await launcher.spawn(plan)
        with trio.fail_after(4 * TIMEOUT):  # it leaves them little of a processor
            for _ in range(ENTRIES):
                await enter(launcher, plan, container, "true", user=user)
            await enter(launcher, plan, container, "touch", "/stop")
        _, seen, errors = await finish(launcher, container)
    assert "busybox" in seen, f"it saw nothing at all: {errors}"
    for ours in ("python", "msgpack", "libc"):
        assert ours not in seen, f"{ours} is seen from inside: {seen}"
