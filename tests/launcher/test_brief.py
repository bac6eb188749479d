"""Processes of which start and end are told at once, if the end comes in a moment; and what is told else."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from launching import TIMEOUT, Ground, finish
from support.forms import within

from wherryd.launcher.exec_plan import beside
from wherryd.launcher.handle import Exit, open_launcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wherryd.launcher.asked import Asked
    from wherryd.launcher.handle import Launcher, Spawned
    from wherryd.launcher.plan import Plan

NAME = "e" * 64
TRIES = 10
MANY_TRIES = within(20 * TRIES)


@asynccontextmanager
async def container(ground: Ground) -> AsyncGenerator[tuple[Launcher, Plan, Spawned]]:
    """A container that ends when its standard input does."""
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("cat", stdin=True)
        spawned = await launcher.spawn(plan)
        yield launcher, plan, spawned
        await finish(launcher, spawned)


async def ask(launcher: Launcher, plan: Plan, pidfd: int, script: str, name: str = NAME) -> Asked:
    """Ask for a brief command, and return what is answered."""
    own = beside(plan, id=name, args=("sh", "-c", script), streams=())
    asked = launcher.ask_join(own, b"a note", pidfd, (), brief=True)
    assert asked is not None
    with trio.fail_after(TIMEOUT):
        await asked.answered.wait()
    return asked


@pytest.mark.parametrize(
    ("script", "expected"), [("exit 0", Exit(code=0)), ("exit 7", Exit(code=7)), ("kill $$", Exit(signal=15))]
)
async def test_every_end_is_told_whether_or_not_it_comes_in_a_moment(
    ground: Ground, script: str, expected: Exit
) -> None:
    async with container(ground) as (launcher, plan, spawned):
        together = tried = 0
        # Where each takes longer than a moment most of the time, until one does not.
        while tried < TRIES or (not together and tried < MANY_TRIES):
            tried += 1
            asked = await ask(launcher, plan, spawned.pidfd, script)
            if asked.ran is not None:
                together += 1
                assert asked.ran.exit == expected
                assert asked.ran.pid > 0
                launcher.release(NAME)
                continue
            assert asked.spawned is not None, asked.failure
            with trio.fail_after(TIMEOUT):
                assert await launcher.wait_exit(NAME) == expected
            asked.spawned.close()
            launcher.release(NAME)
        assert together, "none of them ended in a moment"


async def test_a_lasting_one_is_told_before_its_end(ground: Ground) -> None:
    async with container(ground) as (launcher, plan, spawned):
        script = "until test -e /go; do usleep 2000; done; exit 3"
        asked = await ask(launcher, plan, spawned.pidfd, script)
        assert asked.ran is None
        assert asked.spawned is not None
        Path(f"/proc/{spawned.pid}/root/go").touch()
        with trio.fail_after(TIMEOUT):
            assert await launcher.wait_exit(NAME) == Exit(code=3)
        asked.spawned.close()
        launcher.release(NAME)


async def test_one_that_sigkill_ended_is_told_with_its_descriptors(ground: Ground) -> None:
    """Who has to find out what killed it needs them."""
    async with container(ground) as (launcher, plan, spawned):
        for _ in range(10):
            asked = await ask(launcher, plan, spawned.pidfd, "kill -9 $$")
            assert asked.ran is None
            assert asked.spawned is not None
            with trio.fail_after(TIMEOUT):
                assert await launcher.wait_exit(NAME) == Exit(signal=9)
            asked.spawned.close()
            launcher.release(NAME)


async def test_a_failure_is_told_as_of_any_other(ground: Ground) -> None:
    async with container(ground) as (launcher, plan, spawned):
        own = beside(plan, id=NAME, args=("/no/such",), streams=())
        asked = launcher.ask_join(own, b"", spawned.pidfd, (), brief=True)
        assert asked is not None
        with trio.fail_after(TIMEOUT):
            await asked.answered.wait()
        assert asked.failure is not None
        assert asked.failure.step == "exec"


async def test_one_that_was_not_released_is_adopted_with_its_exit(ground: Ground) -> None:
    """A supervisor that dies before it has released what ran leaves it to the next one, with its note."""
    async with open_launcher(ground.run_dir) as first:
        plan = ground.plan("cat", stdin=True)
        spawned = await first.spawn(plan)
        asked = await ask(first, plan, spawned.pidfd, "exit 9")
        if asked.spawned is not None:
            asked.spawned.close()
        spawned.close()
    async with open_launcher(ground.run_dir) as second:
        held = {each.id: each for each in second.adopted}
        assert held[NAME].note == b"a note"
        with trio.fail_after(TIMEOUT):
            assert await second.wait_exit(NAME) == Exit(code=9)
        held[NAME].close()
        second.release(NAME)
        await finish(second, held[plan.id])


async def test_a_container_starts_beside_brief_ones(ground: Ground) -> None:
    """The moment that the launcher gives a brief one is not taken from a container that starts."""
    async with container(ground) as (launcher, plan, spawned):
        other = ground.plan("true")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, launcher, plan, spawned.pidfd, "exit 0")
            started = await launcher.spawn(other)
            assert (await finish(launcher, started))[0] == Exit(code=0)
        launcher.release(NAME)


async def test_many_at_once_end_as_they_should(ground: Ground) -> None:
    async with container(ground) as (launcher, plan, spawned):
        codes: dict[int, int | None] = {}

        async def one(number: int) -> None:
            name = f"{number:064x}"[::-1]
            asked = await ask(launcher, plan, spawned.pidfd, f"exit {number}", name)
            if asked.ran is not None:
                codes[number] = asked.ran.exit.code
                launcher.release(name)
                return
            assert asked.spawned is not None, asked.failure
            codes[number] = (await launcher.wait_exit(name)).code
            os.close(asked.spawned.pidfd)
            launcher.release(name)

        with trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:
                for number in range(1, 41):
                    nursery.start_soon(one, number)
        assert codes == {number: number for number in range(1, 41)}
