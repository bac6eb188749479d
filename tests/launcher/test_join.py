"""A process beside a container's first one: what it gets, what it cannot reach, and who may die meanwhile."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from launching import TIMEOUT, Ground, finish, read_all, wait_gone
from support.waiting import wait_for

from wherryd.launcher.exec_plan import beside
from wherryd.launcher.handle import Exit, SpawnFailed, open_launcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wherryd.launcher.handle import Launcher, Spawned
    from wherryd.launcher.plan import Plan

NAME = "e" * 64
SETTLED = 0.06
"""Seconds after which a change of a file counts as long ago: see wherryd.launcher.user."""


@asynccontextmanager
async def container(
    ground: Ground, script: str = "cat", **spec: Any
) -> AsyncGenerator[tuple[Launcher, Plan, Spawned]]:
    """A container that ends when its standard input does."""
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("sh", "-c", script, stdin=True, **spec)
        spawned = await launcher.spawn(plan)
        yield launcher, plan, spawned
        await finish(launcher, spawned)


@contextmanager
def pipes() -> Iterator[tuple[int, int, list[int]]]:
    """Pipes for stdout and stderr, and where their output arrives."""
    out, their_out = os.pipe2(os.O_CLOEXEC)
    err, their_err = os.pipe2(os.O_CLOEXEC)
    theirs = [their_out, their_err]
    try:
        yield out, err, theirs
    finally:
        for fd in theirs:
            os.close(fd)


async def join(
    launcher: Launcher, plan: Plan, spawned: Spawned, *command: str, name: str = NAME, **own: Any
) -> tuple[Exit, str, str]:
    """Run a command beside the container's, to its end."""
    fields = {"id": name, "args": command, "streams": (1, 2), **own}
    with pipes() as (out, err, theirs):
        joined = await launcher.join(beside(plan, **fields), b"", spawned.pidfd, theirs)
    os.close(joined.pidfd)
    with trio.fail_after(TIMEOUT):
        printed = await read_all(out), await read_all(err)
        ended = await launcher.wait_exit(name)
    launcher.release(name)
    return ended, printed[0].decode(), printed[1].decode()


async def test_runs_beside_the_first_process_in_all_its_namespaces_and_its_cgroup(ground: Ground) -> None:
    script = "for n in mnt pid uts ipc net cgroup; do readlink /proc/$0/ns/$n; done; cat /proc/$0/cgroup"
    async with container(ground) as (launcher, plan, spawned):
        ours = await join(launcher, plan, spawned, "sh", "-c", script, "self")
        first = await join(launcher, plan, spawned, "sh", "-c", script, "1")
        assert ours == first
        assert ours[1].count("\n") >= 7
        assert (await join(launcher, plan, spawned, "readlink", "/proc/self/root"))[1] == "/\n"
        _, listing, _ = await join(launcher, plan, spawned, "ls", "-A", "/")
        assert "bin" in listing


async def test_has_the_privileges_and_limits_of_the_first_process(ground: Ground) -> None:
    script = "grep -E 'Cap|NoNewP|Secc|Groups|[UG]id' /proc/$0/status; cd /proc/$0; cat limits oom_score_adj"
    async with container(ground) as (launcher, plan, spawned):
        ours = await join(launcher, plan, spawned, "sh", "-c", script, "self")
        first = await join(launcher, plan, spawned, "sh", "-c", script, "1")
        assert ours == first


@pytest.mark.parametrize(
    ("command", "expected"),
    [("exit 0", Exit(code=0)), ("exit 7", Exit(code=7)), ("kill -9 $$", Exit(signal=9))],
)
async def test_its_exit_is_its_own(ground: Ground, command: str, expected: Exit) -> None:
    async with container(ground) as (launcher, plan, spawned):
        ended, out, err = await join(
            launcher, plan, spawned, "sh", "-c", f"echo out; echo err >&2; {command}"
        )
        assert (ended, out, err) == (expected, "out\n", "err\n")


async def test_only_its_streams_are_open_and_its_directory_is_inside(ground: Ground) -> None:
    """CVE-2024-21626: whatever we hold, the command has 0, 1 and 2, and no directory of the host's."""
    async with container(ground) as (launcher, plan, spawned):
        _, out, _ = await join(
            launcher, plan, spawned, "sh", "-c", "ls /proc/self/fd; readlink /proc/self/cwd"
        )
        assert out.split() == ["0", "1", "2", "3", "/"], "3 is what ls itself opened"
        for number in range(3, 20):
            with pytest.raises(SpawnFailed) as refused:
                await join(launcher, plan, spawned, "true", cwd=f"/proc/self/fd/{number}")
            assert refused.value.step == "cwd"


@pytest.mark.parametrize(
    ("own", "step"),
    [
        ({"args": ("missing",)}, "exec"),
        ({"args": ("/etc/passwd",)}, "exec"),
        ({"cwd": "/missing"}, "cwd"),
        ({"user": "nobody-here"}, "user"),
    ],
)
async def test_what_cannot_be_is_told_and_leaves_nothing(
    ground: Ground, own: dict[str, Any], step: str
) -> None:
    async with container(ground) as (launcher, plan, spawned):
        with pytest.raises(SpawnFailed) as failed:
            await join(launcher, plan, spawned, "true", **own)
        assert failed.value.step == step
        # The worker is back where it belongs, and enters again.
        assert (await join(launcher, plan, spawned, "true"))[0] == Exit(code=0)


async def test_a_user_that_has_changed_meanwhile_is_the_new_one(ground: Ground) -> None:
    """What was read for one command is not taken for the next one once the container's files have changed."""
    script = 'while read -r line; do echo "$line" >/etc/passwd; echo; done'
    async with container(ground, script) as (launcher, plan, spawned):
        for uid in (2001, 2002, 2003, 2004):
            # Each is as long as the one before, and in the same file.
            os.write(spawned.stdin or -1, f"somebody:x:{uid}:{uid}::/:/bin/sh\n".encode())
            await trio.lowlevel.wait_readable(spawned.stdout or -1)
            os.read(spawned.stdout or -1, 1)
            for pause in (0.0, SETTLED, 0.0):
                await trio.sleep(pause)  # until the change is long ago: what was read then is taken again
                _, out, _ = await join(launcher, plan, spawned, "id", "-u", user="somebody")
                assert out == f"{uid}\n", "a user of before the change"


async def test_null_that_the_container_replaced_is_refused(ground: Ground) -> None:
    script = "rm /dev/null; mkfifo /dev/null; echo ready; exec cat"
    async with container(ground, script) as (launcher, plan, spawned):
        await trio.lowlevel.wait_readable(spawned.stdout or -1)
        with trio.fail_after(TIMEOUT), pytest.raises(SpawnFailed, match="something else there"):
            await join(launcher, plan, spawned, "true")


async def test_terminal_is_of_the_containers_devpts_and_controls(ground: Ground) -> None:
    async with container(ground) as (launcher, plan, spawned):
        command = ("sh", "-c", "tty; stty size; ps -o tty,pid,args | grep -c 136; read x")
        fields: dict[str, Any] = {"terminal": True, "console_size": (33, 44), "args": command}
        joined = await launcher.join(beside(plan, id=NAME, streams=(), **fields), b"", spawned.pidfd, ())
        assert joined.tty is not None
        shown = b""
        while b"33 44" not in shown:
            with trio.fail_after(TIMEOUT):
                await trio.lowlevel.wait_readable(joined.tty)
            shown += os.read(joined.tty, 4096)
        assert shown.startswith(b"/dev/pts/0\r\n"), "a terminal of the host's"
        fcntl.ioctl(joined.tty, termios.TIOCSWINSZ, struct.pack("4H", 9, 9, 0, 0))
        os.write(joined.tty, b"\x03")
        with trio.fail_after(TIMEOUT):
            assert await launcher.wait_exit(NAME) == Exit(signal=2), "ctrl-c did not arrive"
        joined.close()
        launcher.release(NAME)


async def test_next_supervisor_gets_it_back_with_its_note_and_its_exit(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as first:
        plan = ground.plan("cat", stdin=True)
        spawned = await first.spawn(plan)
        lifeline, ours = os.pipe2(os.O_CLOEXEC)
        with pipes() as (out, err, theirs):
            own = beside(plan, id=NAME, args=("sh", "-c", "exit 9"), streams=(1, 2))
            joined = await first.join(own, b"a note", spawned.pidfd, theirs, lifeline)
        os.close(lifeline)
        await wait_gone(joined.pid)
        joined.close()
        spawned.close()
    async with open_launcher(ground.run_dir) as second:
        held = {each.id: each for each in second.adopted}
        assert held[NAME].note == b"a note"
        assert held[plan.id].note is None
        assert await second.wait_exit(NAME) == Exit(code=9)
        assert held[NAME].lifeline is not None
        os.close(ours)
        with trio.fail_after(TIMEOUT):
            await trio.lowlevel.wait_readable(held[NAME].lifeline or -1)
        held[NAME].close()
        second.release(NAME)
        await finish(second, held[plan.id])
    os.close(out)
    os.close(err)


async def test_end_of_the_container_ends_it(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("cat", stdin=True)
        spawned = await launcher.spawn(plan)
        with pipes() as (out, err, theirs):
            own = beside(plan, id=NAME, args=("sleep", "1000"), streams=(1, 2))
            joined = await launcher.join(own, b"", spawned.pidfd, theirs)
        pidfd = os.dup(spawned.pidfd)
        await finish(launcher, spawned)
        with trio.fail_after(TIMEOUT):
            assert await launcher.wait_exit(NAME) == Exit(signal=9)
        launcher.release(NAME)
        with pipes() as (late_out, late_err, theirs), pytest.raises(SpawnFailed) as failed:
            await launcher.join(beside(plan, id=NAME, args=("true",), streams=(1, 2)), b"", pidfd, theirs)
        assert failed.value.step in ("cgroup", "join", "clone")
        for fd in (out, err, late_out, late_err, joined.pidfd, pidfd):
            os.close(fd)


async def test_called_off_while_it_is_set_up_it_leaves_nothing(ground: Ground) -> None:
    async with container(ground) as (launcher, plan, spawned):
        assert launcher.pid is not None
        os.kill(launcher.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join, launcher, plan, spawned, "sleep", "1000")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            # Both requests wait for it now: to start, and to kill what may have started meanwhile.
            os.kill(launcher.pid, signal.SIGCONT)
        assert (await join(launcher, plan, spawned, "true"))[0] == Exit(code=0)
        procs = ground.cgroup / plan.id / "cgroup.procs"
        # What was killed has a few steps left in the kernel.
        assert await trio.to_thread.run_sync(
            wait_for, lambda: procs.read_text().split() == [str(spawned.pid)]
        ), "what was called off runs"
