"""Whoever follows a container goes on by himself when the supervisor is killed and another one comes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from support.forms import within

from wherry import AsyncClient, Client, ConnectionFailed, Event, RunSpec

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

KILLS = 3
PATIENCE = within(30.0)
NUMBERS = "trap 'exit 7' TERM; i=0; while :; do echo $i; i=$((i+1)); read -t 0.005 x; done"
"""It counts until it is stopped."""


def numbered(text: str | bytes) -> list[int]:
    return [int(line) for line in text.split()]


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return what comes first, and nothing of what comes then."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(process.stdout.fileno(), 1)
        assert read, line
        line += read
    return line


def connected(daemon: Daemon) -> int:
    """Return how many clients the supervisor has (proc_net_unix(5): state 3)."""
    path = str(daemon.run_dir / "control.sock")
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(fields[-1] == path and fields[5] == "03" for fields in lines)


@contextmanager
def connecting(daemon: Daemon, count: int) -> Iterator[None]:
    """Wait until so many clients are there; before that nobody may be."""
    wait_for(lambda: connected(daemon) == 0)
    yield
    wait_for(lambda: connected(daemon) >= count)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


def quiet(process: tuple[int, str, str]) -> tuple[int, str, str]:
    """Leave out what a busy machine has a client say: the wait for the supervisor was long."""
    code, out, err = process
    return code, out, "".join(line for line in err.splitlines(True) if "the supervisor is" not in line)


def restart(daemon: Daemon, down: float = 0.0) -> None:
    daemon.kill()
    time.sleep(down)
    daemon.start()


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def finish_quietly(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    return quiet(finish(process))


def test_every_follower_sees_each_line_and_event_once(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Three kills: logs -f, logs -f --tail 0, events, wait, a run in the foreground."""
    daemon = fresh_wherryd
    follow = ("logs", "-f", "web")
    with daemon.client() as client:
        before = client.last_event()
        spec = RunSpec(image=os.fspath(busybox), command=("sh", "-c", NUMBERS), name="web", stdin=True)
        client.run_detached(spec)
        with client.log_stream("web", follow=True) as printed:
            next(iter(printed))
    with connecting(daemon, 5):
        wait = daemon.popen("wait", "web")
        some = [daemon.popen(*follow), daemon.popen(*follow, "--tail", "0"), daemon.popen(*follow, "-t")]
        events = daemon.popen("events", "--since", f"seq:{before}", "--format", "{{.Action}}")
    front = daemon.popen("run", "-i", "--name", "front", busybox, "sh", "-c", NUMBERS)
    head = first_line(front)
    for _ in range(KILLS):
        restart(daemon, 0.1)
    with daemon.client() as client:
        ends = [client.stop(name).code for name in ("web", "front")]
        lines, mine = (len(numbered(client.logs(name))) for name in ("web", "front"))
    assert ends == [7, 7]
    code, out, err = finish_quietly(front)
    assert (code, numbered(head.decode() + out), err) == (7, list(range(mine)), "")
    assert finish_quietly(wait) == (0, "7\n", "")
    whole, tail, stamped = map(finish_quietly, some)
    assert (whole[0], numbered(whole[1]), whole[2]) == (0, list(range(lines)), "")
    first = numbered(tail[1])[0]
    assert (tail[0], numbered(tail[1])) == (0, list(range(first, lines))), "from its own start on"
    assert [line.split()[1] for line in stamped[1].splitlines()] == [str(each) for each in range(lines)]
    with daemon.client() as client:
        client.remove("web")
        client.remove("front")
        expected = [
            each.action for each in client.events(after=before, until=time.time()) if isinstance(each, Event)
        ]
    assert events.stdout is not None
    seen = [events.stdout.readline().decode().strip() for _ in expected]
    events.send_signal(signal.SIGINT)
    assert finish_quietly(events) == (130, "", "")
    assert seen == expected


def test_what_ended_while_nobody_was_there_is_told_whole(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Also of a container that is removed at its end: it stays for a moment, for those who come back."""
    daemon = fresh_wherryd
    script = "read x; echo last; exit 5"
    front = daemon.popen("run", "-i", "--rm", "--name", "brief", busybox, "sh", "-c", f"echo up; {script}")
    assert front.stdin is not None
    assert first_line(front) == b"up\n"
    wait = daemon.popen("wait", "brief")
    follower = daemon.popen("logs", "-f", "brief")
    assert first_line(follower) == b"up\n"
    wait_for(lambda: connected(daemon) >= 3)
    with daemon.client() as client:
        pid = client.inspect("brief").pid
    daemon.kill()
    front.stdin.write(b"\n")
    front.stdin.flush()
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())
    daemon.start()
    assert finish_quietly(front) == (5, "last\n", "")
    assert finish_quietly(follower) == (0, "last\n", "")
    assert finish_quietly(wait) == (0, "5\n", "")


def test_a_long_wait_is_told_once_and_ends_at_ctrl_c(fresh_wherryd: Daemon, busybox: Path) -> None:
    daemon = fresh_wherryd
    command = ("sh", "-c", "while :; do echo up; sleep 0.1; done")
    with daemon.client() as client:
        client.run_detached(RunSpec(image=os.fspath(busybox), command=command, name="idle"))
    with connecting(daemon, 4):
        followers = [daemon.popen(*words) for words in (("logs", "-f", "idle"), ("attach", "idle"))]
        patient = daemon.popen("wait", "idle", "idle")
    for each in followers:
        assert first_line(each) == b"up\n"
    daemon.kill()
    for each in followers:
        assert each.stderr is not None
        assert b"away" in each.stderr.readline()
        each.send_signal(signal.SIGINT)
    assert finish(followers[0])[::2] == (130, "")
    assert finish(followers[1])[::2] == (130, "wherry: idle runs on\n")
    daemon.start()
    with daemon.client() as client:
        client.kill("idle")
    code, out, err = finish(patient)
    assert (code, out) == (0, "137\n137\n")
    assert [line.split("supervisor is ")[1].split(":")[0] for line in err.splitlines()] == ["away", "back"]


def test_patience_has_an_end(fresh_wherryd: Daemon, busybox: Path) -> None:
    daemon = fresh_wherryd
    with daemon.client() as client:
        client.run_detached(RunSpec(image=os.fspath(busybox), command=("sleep", "60"), name="idle"))
    told: list[bool] = []
    with (
        Client(daemon.run_dir, autostart=False, reconnect=0.3, on_away=told.append) as client,
        client.log_stream("idle", follow=True) as lines,
    ):
        daemon.kill()
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match=r"logs: the supervisor hung up .* none came within"):
            next(iter(lines))
        assert 0.3 <= time.monotonic() - began < PATIENCE
    assert told == []
    daemon.start()


async def test_async_followers_go_on_too(fresh_wherryd: Daemon, busybox: Path) -> None:
    daemon = fresh_wherryd
    async with AsyncClient(daemon.run_dir, autostart=False, reconnect=PATIENCE) as client:
        before = await client.last_event()
        spec = RunSpec(image=os.fspath(busybox), command=("sh", "-c", NUMBERS), stdin=True)
        made = await client.run_detached(spec)
        printed, actions, codes = bytearray(), list[str](), list[int | None]()

        async def follow() -> None:
            async with client.log_stream(made.id, follow=True) as outputs:
                async for output in outputs:
                    printed.extend(output.data)

        async def events() -> None:
            async with client.events(filters=[("type", "container")], after=before) as found:
                async for event in found:
                    assert isinstance(event, Event)
                    actions.append(event.action)
                    if event.action == "die":
                        return

        async def wait() -> None:
            codes.append((await client.wait(made.id)).code)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for task in (follow, events, wait):
                    group.start_soon(task)
                for _ in range(KILLS):
                    await anyio.to_thread.run_sync(restart, daemon)
                assert (await client.stop(made.id)).code == 7
                lines = len(numbered(await client.logs(made.id)))
        assert (numbered(bytes(printed)), codes) == (list(range(lines)), [7])
        assert actions == ["create", "start", "kill", "die"]
