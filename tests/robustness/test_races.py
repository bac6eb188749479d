"""Two things at once to one container: only outcomes that make sense, and nothing left behind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio
from rig import crowd, spec
from support.forms import rounds

from wherry import BadRequest, Conflict, NotFound, RunSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import AsyncClient, Created

ROUNDS = rounds(short=90, long=300)
AT_ONCE = 8
SERVICE = "trap 'exit 9' TERM; read x; exit 4"
"""Ends with 9 when it is told to, and with 4 at the end of its input."""


async def told(outcomes: Counter[str], name: str, request: Callable[[], Awaitable[object]]) -> None:
    """Make a request that may lose; count how it came out."""
    try:
        await request()
        outcomes[f"{name} done"] += 1
    except (NotFound, Conflict) as error:
        outcomes[f"{name} {error.code}"] += 1


async def both(*requests: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(request)


async def made(client: AsyncClient, image: Path, script: str = SERVICE, *, stdin: bool = True) -> Created:
    return await client.run_detached(spec(image, script, stdin=stdin))


async def test_stop_against_the_containers_own_end(wherryd: Daemon, busybox: Path) -> None:
    """One of the two codes, and everybody is told the same."""
    codes: Counter[int | None] = Counter()

    async def race(client: AsyncClient, _: int) -> None:
        container = await made(client, busybox)
        stopped: list[object] = []
        outcomes: Counter[str] = Counter()

        async def stop() -> None:
            stopped.append(await client.stop(container.id, 10))

        async def end() -> None:
            await told(outcomes, "end", lambda: client.close_stdin(container.id))

        await both(stop, end)
        status = await client.wait(container.id)
        assert stopped == [status]
        assert (await client.inspect(container.id)).summary.exit == status
        codes[status.exit_code] += 1
        await client.remove(container.id)

    await crowd(wherryd, ROUNDS, AT_ONCE, race)
    assert set(codes) <= {4, 9}, codes
    assert codes.total() == ROUNDS


async def test_rm_against_the_containers_own_end(wherryd: Daemon, busybox: Path) -> None:
    """Without force it goes only when it has ended; with force it always goes."""
    outcomes: Counter[str] = Counter()

    async def race(client: AsyncClient, number: int) -> None:
        container = await made(client, busybox, "exit 4", stdin=False)
        if number % 2:
            await client.remove(container.id, force=True)
            outcomes["forced"] += 1
            return
        await told(outcomes, "rm", lambda: client.remove(container.id))
        await told(outcomes, "wait", lambda: client.wait(container.id))
        await told(outcomes, "rm again", lambda: client.remove(container.id))

    before = wherryd.container_ids()
    await crowd(wherryd, ROUNDS, AT_ONCE, race)
    assert wherryd.container_ids() == before
    assert outcomes["forced"] == ROUNDS // 2
    assert outcomes["rm done"] + outcomes["rm conflict"] == ROUNDS // 2, outcomes
    assert outcomes["rm again done"] == outcomes["rm conflict"] == outcomes["wait done"], outcomes
    assert outcomes["rm again not_found"] == outcomes["rm done"] == outcomes["wait not_found"], outcomes


async def test_two_removals_and_an_end_with_rm(wherryd: Daemon, busybox: Path) -> None:
    """`--rm`, two `rm -f` and the end itself, all at once: it is removed once, and nobody hangs."""
    outcomes: Counter[str] = Counter()

    async def race(client: AsyncClient, _: int) -> None:
        container = await client.run_detached(spec(busybox, "exit 4", auto_remove=True))

        async def remove() -> None:
            await told(outcomes, "rm", lambda: client.remove(container.id, force=True))

        async def wait() -> None:
            await told(outcomes, "wait", lambda: client.wait(container.id))

        await both(remove, wait, remove)

    before = wherryd.container_ids()
    await crowd(wherryd, ROUNDS, AT_ONCE, race)
    assert wherryd.container_ids() == before
    assert set(outcomes) <= {"rm done", "rm not_found", "wait done", "wait not_found"}, outcomes


async def test_pause_against_stop(wherryd: Daemon, busybox: Path) -> None:
    """Frozen before, after or never: the stop comes to its end within its time, by force if it must."""
    outcomes: Counter[str] = Counter()

    async def race(client: AsyncClient, number: int) -> None:
        container = await made(client, busybox)

        async def pause() -> None:
            await told(outcomes, "pause", lambda: client.pause(container.id))

        async def stop() -> None:
            if number % 3:
                await trio.lowlevel.checkpoint()
            status = await client.stop(container.id, 0.05)
            outcomes[f"stopped {status.exit_code}"] += 1

        await both(pause, stop)
        summary = (await client.inspect(container.id)).summary
        assert summary.state == "exited", summary
        await client.remove(container.id)

    await crowd(wherryd, ROUNDS, AT_ONCE, race)
    assert outcomes["stopped 9"] + outcomes["stopped 137"] == ROUNDS, outcomes
    assert outcomes["pause done"] + outcomes["pause conflict"] == ROUNDS, outcomes


async def test_restart_against_kill_and_rename(wherryd: Daemon, busybox: Path) -> None:
    """Three changes at once: whichever wins, it is in a state that can be looked at and removed."""
    outcomes: Counter[str] = Counter()

    async def race(client: AsyncClient, number: int) -> None:
        container = await made(client, busybox)
        await both(
            lambda: told(outcomes, "restart", lambda: client.restart(container.id, 0)),
            lambda: told(outcomes, "kill", lambda: client.kill(container.id)),
            lambda: told(outcomes, "rename", lambda: client.rename(container.id, f"race-{number}")),
        )
        summary = (await client.inspect(container.id)).summary
        assert summary.name == f"race-{number}"
        assert summary.state in {"running", "exited"}, summary
        await client.remove(container.id, force=True)

    await crowd(wherryd, ROUNDS // 3, AT_ONCE, race)
    assert outcomes["rename done"] == ROUNDS // 3, outcomes
    assert outcomes["restart done"] == ROUNDS // 3, outcomes


async def test_create_and_remove_while_everybody_lists(wherryd: Daemon, busybox: Path) -> None:
    """A list taken in the middle of it all is of whole containers."""

    async def work(client: AsyncClient, number: int) -> None:
        if number % 2:
            for summary in await client.list(all=True):
                assert summary.name
                assert summary.state in {"created", "running", "exited", "paused"}
            return
        container = await client.create(RunSpec(image=str(busybox), command=("true",)))
        try:
            await client.inspect(container.id)
        except BadRequest as error:  # pragma: no cover - it must not happen
            raise AssertionError("a container that was just made is not there") from error
        await client.remove(container.id)

    await crowd(wherryd, ROUNDS, AT_ONCE, work)
