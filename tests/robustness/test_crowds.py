"""Many at once: idle connections, one name for all, starts and stops by the hundred."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rig import connection, crowd, descriptors, hello, rss, spec, wait_for

from wherry import Conflict, RunSpec
from wherry_protocol.run_spec import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import AsyncClient

IDLE = 2000
SOON = 0.2


def slowest_ping(daemon: Daemon, pings: int = 30) -> float:
    """Return what the slowest of some took, in the best of three goes: the machine has its moments."""
    slowest = []
    with daemon.client() as client:
        for _ in range(3):
            took = []
            for _ in range(pings):
                began = time.monotonic()
                client.ping()
                took.append(time.monotonic() - began)
            slowest.append(max(took))
    return min(slowest)


def test_two_thousand_idle_connections_do_not_hurt_a_ping(wherryd: Daemon) -> None:
    """Greeted, and then silent for good; when they go, so does what they cost."""
    held = descriptors(wherryd.pid)
    with ExitStack() as stack:
        for _ in range(IDLE):
            sock = stack.enter_context(connection(wherryd))
            sock.sendall(hello())
            assert sock.recv(1 << 12), "it was not accepted"
        assert descriptors(wherryd.pid) >= IDLE
        assert slowest_ping(wherryd) < SOON
    assert wait_for(lambda: descriptors(wherryd.pid) <= held), "descriptors of clients that are gone stay"


async def test_one_of_two_hundred_runs_of_a_name_wins(wherryd: Daemon, busybox: Path) -> None:
    wanted = RunSpec(image=str(busybox), command=("sleep", "1000"), name="wanted")
    outcomes = {"won": 0, "conflict": 0}

    async def run(client: AsyncClient, _: int) -> None:
        try:
            await client.run_detached(wanted)
            outcomes["won"] += 1
        except Conflict as error:
            assert "wanted" in str(error)  # noqa: PT017 - one of them is not refused
            outcomes["conflict"] += 1

    before = wherryd.container_ids()
    await crowd(wherryd, 200, 200, run)
    assert outcomes == {"won": 1, "conflict": 199}
    assert len(wherryd.container_ids() - before) == 1
    assert len([path for path in wherryd.cgroup.iterdir() if path.is_dir()]) == 1


async def test_a_name_is_free_again_as_soon_as_it_is_told(wherryd: Daemon, busybox: Path) -> None:
    """The same name over and over, removed by request and by --rm."""
    with wherryd.client() as client:
        for number in range(60):
            one = RunSpec(image=str(busybox), command=("true",), name="again", auto_remove=number % 2 == 0)
            assert client.run(one).exit_code == 0
            if not one.auto_remove:
                client.remove("again")


async def test_three_hundred_starts_and_stops_leave_nothing(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Thirty at a time, no failure, and the memory of before: once all that is kept for reuse is there."""
    service = spec(busybox, "trap 'exit 7' TERM; echo up; while :; do read -t 100 x; done", stdin=True)
    codes: list[int | None] = []

    async def live(client: AsyncClient, _: int) -> None:
        made = await client.run_detached(service)
        async with client.log_stream(made.id, follow=True) as lines:
            async for line in lines:
                assert line.data == b"up\n"
                break
        codes.append((await client.stop(made.id, 20)).code)
        await client.remove(made.id)

    for _ in range(2):
        await crowd(fresh_wherryd, 300, 30, live)
    before = {pid: rss(pid) for pid in (fresh_wherryd.pid, fresh_wherryd.launcher_pid)}
    codes.clear()
    await crowd(fresh_wherryd, 300, 30, live)
    assert codes == [7] * 300
    for pid, memory in before.items():
        assert rss(pid) <= memory * 1.05, f"{memory} KiB before, {rss(pid)} KiB after"
    assert fresh_wherryd.container_ids() == frozenset()


async def test_a_mebibyte_printed_in_the_last_moment_is_all_there(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """A hundred times: the end of the process never overtakes its output."""
    data = os.urandom(1 << 20)
    (tmp_path / "data").write_bytes(data)
    wanted = hashlib.sha256(data).hexdigest()
    volume = Volume(source=str(tmp_path), target="/v", read_only=True)
    seen: list[str] = []

    async def run(client: AsyncClient, _: int) -> None:
        one = RunSpec(image=str(busybox), command=("cat", "/v/data"), volumes=(volume,), auto_remove=True)
        seen.append(hashlib.sha256((await client.run(one)).stdout).hexdigest())

    await crowd(wherryd, 100, 4, run)
    assert seen == [wanted] * 100


def test_followers_that_never_read_do_not_slow_the_writer(wherryd: Daemon, busybox: Path) -> None:
    """A container's output goes to its file; who reads that, and whether, is nothing to it."""
    write = "read go; dd if=/dev/zero bs=1M count=48 2>/dev/null; exit 3"

    def run(followers: int) -> float:
        with wherryd.client() as client, ExitStack() as stack:
            made = client.run_detached(spec(busybox, write, stdin=True))
            for _ in range(followers):
                # Never read: the socket's buffer is full after some 200 KiB.
                stack.enter_context(client.log_stream(made.id, follow=True))
            began = time.monotonic()
            client.close_stdin(made.id)
            assert client.wait(made.id).code == 3
            took = time.monotonic() - began
            assert (wherryd.state_dir / "containers" / made.id / "log").stat().st_size == 48 << 20
            assert slowest_ping(wherryd, 5) < SOON
        return took

    alone = min(run(0), run(0))
    followed = min(run(10), run(10))
    assert followed < 2 * alone + 0.3, f"{alone:.2f} s alone, {followed:.2f} s with followers"
