"""Client.exec and popen, plain and async, against a real supervisor: streams, exits, signals, ownership."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
import trio
from support.forms import within
from support.proc import descriptors

from wherry import (
    AsyncClient,
    BadRequest,
    Client,
    CommandNotFound,
    Conflict,
    ContainerFailed,
    NotFound,
    RunSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

PATIENCE = within(15.0)


@pytest.fixture
def client(wherryd: Daemon, busybox: Path) -> Iterator[Client]:
    """A client, and a container `c` that runs."""
    with wherryd.client() as made:
        made.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000"), name="c"))
        yield made


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not (so := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return so


def test_exec_returns_exit_and_output(client: Client) -> None:
    result = client.exec("c", ["sh", "-c", "echo $A; echo err >&2; exit 3"], env={"A": "b"})
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"b\n", b"err\n")
    with pytest.raises(ContainerFailed, match="command in container c ended with code 3: err"):
        result.check()


def test_exec_feeds_more_than_a_pipe_holds_both_ways(client: Client) -> None:
    data = os.urandom(1 << 20) * 3
    assert client.exec("c", ["cat"], input=data).stdout == data
    assert client.exec("c", ["true"], input=data).exit_code == 0, "a command that does not read is no error"
    assert client.exec("c", ["cat"], input=b"").stdout == b""


def test_exec_gathers_what_no_pipe_holds_and_waits_for_nobody_left_behind(client: Client) -> None:
    """Whether the command ends in the moment in which nobody reads, or not."""
    for number in range(20):
        assert client.exec("c", ["echo", str(number)]).stdout == b"%d\n" % number
    result = client.exec("c", ["sh", "-c", "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2"])
    assert (result.exit_code, len(result.stdout), len(result.stderr)) == (0, 300000, 200000)
    result = client.exec("c", ["sh", "-c", "sleep 1000 & echo here; echo there >&2; exit 4"])
    assert (result.exit_code, result.stdout, result.stderr) == (4, b"here\n", b"there\n")
    result = client.exec(
        "c", ["sh", "-c", "exec >&-; head -c 200000 /dev/zero >&2; sleep 0.1; echo late >&2"]
    )
    assert (result.exit_code, result.stdout, len(result.stderr)) == (0, b"", 200005), (
        "one pipe was closed early"
    )
    result = client.exec("c", ["sh", "-c", "echo early; sleep 0.1; echo late"])
    assert (result.exit_code, result.stdout) == (0, b"early\nlate\n")


def test_exec_with_a_terminal_returns_what_it_showed(client: Client) -> None:
    result = client.exec("c", ["sh", "-c", "tty; stty size; seq 1 5000; exit 4"], tty=True, tty_size=(9, 7))
    lines = result.stdout.split()
    assert (result.exit_code, lines[:3], lines[-1]) == (4, [b"/dev/pts/0", b"9", b"7"], b"5000")


def test_exec_raises_what_cannot_be(client: Client) -> None:
    with pytest.raises(CommandNotFound):
        client.exec("c", ["missing"])
    with pytest.raises(NotFound):
        client.exec("missing", ["true"])
    with pytest.raises(BadRequest, match="no command"):
        client.exec("c", [])
    with pytest.raises(BadRequest, match="NUL"):
        client.exec("c", ["a\0b"])
    client.pause("c")
    with pytest.raises(Conflict, match="paused"):
        client.exec("c", ["true"])
    client.unpause("c")


def test_popen_talks_while_the_command_runs(client: Client) -> None:
    script = "while read line; do echo got $line; done; exit 5"
    with client.popen("c", ["sh", "-c", script], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        assert process.stdout.readline() == b"got one\n"
        process.stdin.write(b"two\n")
        assert process.stdout.readline() == b"got two\n"
        process.stdin.close()
        assert process.wait().code == 5


def test_popen_merges_and_drops_streams_as_subprocess_does(client: Client) -> None:
    command = ["sh", "-c", "echo out; echo err >&2"]
    with client.popen("c", command, stderr=subprocess.STDOUT) as process:
        assert process.communicate().stdout == b"out\nerr\n"
    with client.popen("c", command, stdout=subprocess.DEVNULL) as process:
        result = process.communicate()
    assert (result.stdout, result.stderr) == (b"", b"err\n")


def test_popen_hands_over_descriptors_of_the_callers(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file, client.popen("c", ["echo", "hi"], stdout=file) as process:
        assert process.wait().code == 0
    assert path.read_bytes() == b"hi\n"


@pytest.mark.parametrize(
    ("flags", "why"), [(os.O_RDONLY | os.O_DIRECTORY, "directory"), (os.O_PATH, "O_PATH")]
)
def test_a_stream_that_would_lead_out_is_refused(client: Client, flags: int, why: str) -> None:
    fd = os.open("/etc" if why == "directory" else "/etc/passwd", flags | os.O_CLOEXEC)
    try:
        command = client.popen("c", ["ls", "/proc/self/fd/0/.."], stdin=fd)
        with command as process, pytest.raises(BadRequest, match=f"streams.*({why}|lead out)"):
            process.wait()
    finally:
        os.close(fd)


def test_signals_reach_the_command(client: Client) -> None:
    with client.popen("c", ["sleep", "1000"]) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait().signal == signal.SIGTERM
    with client.popen("c", ["sleep", "1000"]) as process:
        process.kill()
        assert process.wait().exit_code == 137


def test_leaving_the_block_kills_and_detach_does_not(client: Client) -> None:
    with client.popen("c", ["sleep", "2000"]) as process:
        identity = process.id
        assert [found.id for found in client.execs("c")] == [identity]
    assert wait_for(lambda: not client.execs())
    with client.popen("c", ["sleep", "2000"]) as process:
        process.detach()
    (found,) = client.execs("c")
    assert (found.args, found.detached) == (("sleep", "2000"), True)


def test_detached_ones_are_listed_until_they_end(client: Client) -> None:
    started = client.exec_detached("c", ["sh", "-c", "until test -e /over; do usleep 2000; done; exit 7"])
    assert [found.id for found in client.execs("c")] == [started.id]
    client.exec("c", ["touch", "/over"]).check()
    assert wait_for(lambda: not client.execs())


def test_top_lists_the_processes(client: Client) -> None:
    (process,) = client.top("c")
    assert (process.cpid, process.user, process.args) == (1, "root", ("sleep", "1000"))


def test_a_thousand_execs_leave_descriptors_and_memory_flat(client: Client, wherryd: Daemon) -> None:
    def held() -> tuple[int, ...]:
        return tuple(
            sum(descriptors(pid).values()) for pid in (wherryd.pid, wherryd.launcher_pid, os.getpid())
        )

    for _ in range(20):
        client.exec("c", ["true"]).check()
    before, memory = held(), _rss(wherryd.pid)
    for number in range(1000):
        assert client.exec("c", ["sh", "-c", f"exit {number % 200}"]).exit_code == number % 200
    few = 5  # of a client that comes and goes; a leak would be a thousand
    assert wait_for(lambda: all(now <= then + few for now, then in zip(held(), before, strict=True))), (
        f"{before} descriptors grew to {held()}"
    )
    assert _rss(wherryd.pid) - memory < 2048, "KiB of memory"


def _rss(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def test_stop_against_exec_has_a_legal_outcome_each_time(client: Client, busybox: Path) -> None:
    """Whatever comes first: an exit code, 137, or one clear refusal; and nothing is left."""
    spec = RunSpec(image=str(busybox), command=("sleep", "1000"), auto_remove=True)

    async def race() -> None:
        async with AsyncClient(client.directories.run_dir, autostart=False) as other:
            for _ in range(60):
                created = await other.run_detached(spec)
                async with trio.open_nursery() as nursery:
                    for number in range(3):
                        nursery.start_soon(enter, other, created.id, number)
                    await trio.sleep(0.002)
                    await other.stop(created.id, 0)

    async def enter(other: AsyncClient, reference: str, number: int) -> None:
        try:
            result = await other.exec(reference, ["sh", "-c", f"sleep 0.00{number}; exit 3"])
        except (Conflict, NotFound):
            return
        assert result.exit_code in (3, 137), result

    async def limited() -> None:
        with trio.fail_after(within(100)):
            await race()

    trio.run(limited)
    assert client.execs() == ()


# The async client


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_async_exec_returns_exit_and_output(client: Client) -> None:
    data = os.urandom(1 << 20)
    async with AsyncClient(client.directories.run_dir, autostart=False) as other:
        with anyio.fail_after(PATIENCE):
            result = await other.exec("c", ["sh", "-c", "cat; echo err >&2; exit 3"], input=data)
            assert (result.exit_code, result.stdout, result.stderr) == (3, data, b"err\n")
            shown = await other.exec("c", ["sh", "-c", "tty; exit 2"], tty=True)
            assert (shown.exit_code, shown.stdout) == (2, b"/dev/pts/0\r\n")
            with pytest.raises(CommandNotFound):
                await other.exec("c", ["missing"])


async def test_async_popen_talks_and_kills(client: Client) -> None:
    async with AsyncClient(client.directories.run_dir, autostart=False) as other:
        with anyio.fail_after(PATIENCE):
            async with other.popen("c", ["cat"], stdin=subprocess.PIPE) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                await process.stdin.send(b"word")
                assert await process.stdout.receive() == b"word"
                await process.kill()
                assert (await process.wait()).exit_code == 137
            async with other.popen("c", ["sleep", "2000"]) as process:
                assert (await process.started()).id in {found.id for found in await other.execs()}
            while await other.execs():
                await anyio.sleep(0.01)


async def test_a_cancelled_exec_leaves_no_process(client: Client) -> None:
    async with AsyncClient(client.directories.run_dir, autostart=False) as other:
        with anyio.move_on_after(0.3):
            await other.exec("c", ["sleep", "2000"])
        with anyio.fail_after(PATIENCE):
            while await other.execs():
                await anyio.sleep(0.01)


def test_the_streams_are_files(client: Client) -> None:
    with client.popen("c", ["printf", "a\\nb\\n"]) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        assert list(process.stdout) == [b"a\n", b"b\n"]
        assert process.wait().ok
