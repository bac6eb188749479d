"""Who may die when: supervisor, launcher, worker, caller. No exit is lost or made up, nothing is left."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from launching import TIMEOUT, Ground, children, finish, read_all, wait_gone

from wherryd.launcher import start, wire
from wherryd.launcher.handle import Exit, SpawnFailed, open_launcher


def send_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a surplus worker, let go meanwhile
            os.kill(pid, number)


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def fd_count(pid: int | None) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_launcher_ends_when_it_holds_nothing_and_nobody_is_there(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        pid = launcher.pid
        assert pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
    await wait_gone(pid)
    assert not (ground.run_dir / "launcher.sock").exists()


async def test_launcher_is_nobodys_child_in_its_own_session(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        stat = Path(f"/proc/{launcher.pid}/stat").read_text().rpartition(") ")[2].split()
        parent, session = int(stat[1]), int(stat[3])
        assert parent != os.getpid()
        assert session != os.getsid(0)
        assert Path(f"/proc/{launcher.pid}/cmdline").read_bytes().startswith(b"wherryd: launcher\0")
        assert (
            os.readlink(f"/proc/{launcher.pid}/fd/0")
            == os.readlink(f"/proc/{launcher.pid}/fd/1")
            == "/dev/null"
        )
        assert Path(f"/proc/{launcher.pid}/environ").read_bytes() == b""


async def test_next_supervisor_gets_running_container_back(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as first:
        spawned = await first.spawn(ground.plan("cat", stdin=True))
        pid = first.pid
        spawned.close()
    async with open_launcher(ground.run_dir) as second:
        assert second.pid == pid
        (held,) = second.adopted
        assert (held.id, held.pid, held.exit) == (spawned.id, spawned.pid, None)
        assert held.stdin is not None
        os.write(held.stdin, b"still here")
        os.close(held.stdin)
        second.close_stdin(held.id)
        with trio.fail_after(TIMEOUT):
            assert await read_all(held.stdout) == b"still here"
            await read_all(held.stderr)
            assert (await second.wait_exit(held.id)).code == 0
        os.close(held.pidfd)
        second.release(held.id)


@pytest.mark.parametrize(("script", "expected"), [("exit 7", Exit(code=7)), ("kill -9 $$", Exit(signal=9))])
async def test_exit_while_no_supervisor_was_there_is_kept_with_the_output(
    ground: Ground, script: str, expected: Exit
) -> None:
    # Process 1 of a pid namespace does not die of its own signals: a child does.
    command = f"read x; echo last words; sh -c '{script}'; s=$?; [ $s -gt 128 ] && exec sleep 1000; exit $s"
    async with open_launcher(ground.run_dir) as first:
        spawned = await first.spawn(ground.plan("sh", "-c", command, stdin=True))
        assert spawned.stdin is not None
    os.write(spawned.stdin, b"\n")
    with trio.fail_after(TIMEOUT):
        await trio.lowlevel.wait_readable(spawned.stdout or -1)
        if expected.signal:
            signal.pidfd_send_signal(spawned.pidfd, expected.signal)
        await trio.lowlevel.wait_readable(spawned.pidfd)
    spawned.close()
    async with open_launcher(ground.run_dir) as second:
        (held,) = second.adopted
        ended, out, _ = await finish(second, held)
    assert (ended, out) == (expected, "last words\n")


async def test_released_containers_are_not_handed_on(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as first:
        keep = await first.spawn(ground.plan("cat", stdin=True))
        await finish(first, await first.spawn(ground.plan("true")))
        keep.close()
    async with open_launcher(ground.run_dir) as second:
        assert [held.id for held in second.adopted] == [keep.id]
        (held,) = second.adopted
        await finish(second, held)


async def test_second_supervisor_replaces_the_first(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as first:
        pid = first.pid
        async with open_launcher(ground.run_dir) as second:
            assert second.pid == pid
            await finish(second, await second.spawn(ground.plan("true")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE])
async def test_launcher_outlives_signals_meant_to_end_it(ground: Ground, number: int) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        os.kill(launcher.pid, number)
        ended, _, _ = await finish(launcher, await launcher.spawn(ground.plan("sh", "-c", "exit 3")))
        assert ended.code == 3


async def test_containers_do_not_inherit_blocked_or_ignored_signals(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"))
        _, out, _ = await finish(launcher, spawned)
    assert [int(line.split()[1], 16) for line in out.splitlines()] == [0, 0]


async def test_death_of_the_launcher_is_survived(ground: Ground) -> None:
    """Its containers go on, their exits are read through their pidfds, the next start has a new launcher."""
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("sh", "-c", "read x; exit 5", stdin=True))
        old = launcher.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        await wait_gone(old)
        assert spawned.stdin is not None
        os.write(spawned.stdin, b"\n")
        with trio.fail_after(TIMEOUT):
            ended = await launcher.wait_exit(spawned.id)
        assert ended in (Exit(code=5), Exit()), "guessed"
        spawned.close()
        launcher.release(spawned.id)
        again = await launcher.spawn(ground.plan("sh", "-c", "exit 6"))
        assert launcher.pid not in (None, old)
        assert (await finish(launcher, again))[0].code == 6


async def test_next_launcher_has_what_a_dead_one_held(ground: Ground) -> None:
    """So that the next supervisor gets it, with its end; also when that comes while there is none."""
    async with open_launcher(ground.run_dir) as launcher:
        plans = [ground.plan("sh", "-c", "read x; exit 5", stdin=True) for _ in range(2)]
        started = [await launcher.spawn(plan) for plan in plans]
        old = launcher.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        with trio.fail_after(TIMEOUT):
            while launcher.pid in (None, old):
                await trio.sleep(0.01)
        kept = launcher.pid
    os.write(started[0].stdin or -1, b"\n")
    await wait_gone(started[0].pid)
    for each in started:
        each.close()
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid == kept
        assert sorted(each.id for each in launcher.adopted) == [plan.id for plan in plans]
        os.write(launcher.adopted[1].stdin or -1, b"\n")
        for each in launcher.adopted:
            assert (await finish(launcher, each))[0] in (Exit(code=5), Exit()), "guessed"
    assert kept is not None
    await wait_gone(kept)


async def test_what_a_supervisor_said_last_is_obeyed_though_the_next_one_is_there(ground: Ground) -> None:
    """The launcher comes to it late, and finds both: what each of them said, and that the first is gone."""
    async with open_launcher(ground.run_dir) as launcher:
        plans = [ground.plan("cat", stdin=True) for _ in range(3)]
        started = [await launcher.spawn(plan) for plan in plans]
        pid = launcher.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        for each in started:
            launcher.close_stdin(each.id)
            each.close()
    async with trio.open_nursery() as nursery:

        async def succeed() -> None:
            async with open_launcher(ground.run_dir) as launcher:
                assert launcher.pid == pid
                assert [each.stdin for each in launcher.adopted] == [None] * len(plans), "it was not told of"
                for each in launcher.adopted:
                    assert (await finish(launcher, each))[0].code == 0

        nursery.start_soon(succeed)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(pid, signal.SIGCONT)
    await wait_gone(pid)


async def test_start_in_flight_when_the_launcher_dies_fails_clearly(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher, trio.open_nursery() as nursery:
        pid = launcher.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        caught: list[SpawnFailed] = []

        async def start() -> None:
            try:
                await launcher.spawn(ground.plan("true"))
            except SpawnFailed as error:
                caught.append(error)

        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(pid, signal.SIGKILL)
    assert [error.step for error in caught] == ["launcher"]


async def test_cancelled_start_leaves_nothing(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        before, ours = fd_count(launcher.pid), fd_count(os.getpid())
        for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.005):
            plan = ground.plan("sleep", "1000")
            with trio.move_on_after(delay) as scope:
                await trio.lowlevel.checkpoint()
                spawned = await launcher.spawn(plan)
            if not scope.cancelled_caught:
                signal.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
                await finish(launcher, spawned)
        # Started after the late answers were dealt with, in the order of the socket.
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        await wait_fds(launcher.pid, before)
        await wait_fds(os.getpid(), ours)
        assert launcher.pid is not None
        for group in filter(Path.is_dir, list(ground.cgroup.iterdir())):
            await wait_empty(group)


async def wait_fds(pid: int | None, most: int) -> None:
    """Wait until a surplus worker has been let go."""
    with trio.fail_after(TIMEOUT):
        while fd_count(pid) > most:
            await trio.sleep(0.01)


async def wait_empty(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        await wait_gone(int(pid))


async def test_same_container_can_start_after_a_cancelled_start(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("sh", "-c", "exit 9")
        with trio.CancelScope() as scope:
            scope.cancel()
            await launcher.spawn(plan)
        ground.plan_of(plan.id, "true")  # makes its cgroup anew, as the supervisor does
        with trio.fail_after(TIMEOUT):
            assert (await finish(launcher, await launcher.spawn(plan)))[0].code == 9


async def test_worker_that_hangs_holds_up_nobody_else(ground: Ground) -> None:
    """As with a volume on a file system that does not answer: here every worker there is gets stopped."""
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        stopped = children(launcher.pid)
        send_all(stopped, signal.SIGSTOP)
        with trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:

                async def start() -> None:
                    await finish(launcher, await launcher.spawn(ground.plan("true")))
                    nursery.cancel_scope.cancel()

                for _ in range(len(stopped) + 1):
                    nursery.start_soon(start)
        send_all(stopped, signal.SIGCONT)
    for pid in stopped:
        await wait_gone(pid)  # with the launcher, if not before


async def test_killed_worker_fails_its_start_and_no_other(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        workers = children(launcher.pid)
        send_all(workers, signal.SIGSTOP)
        failures: list[SpawnFailed] = []

        async def start() -> None:
            try:
                await finish(launcher, await launcher.spawn(ground.plan("true")))
            except SpawnFailed as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            send_all(workers, signal.SIGKILL)
        assert all(error.step == "set-up" for error in failures)
        assert (await finish(launcher, await launcher.spawn(ground.plan("true"))))[0].code == 0


async def test_orphan_of_a_container_is_reaped(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spawned = await launcher.spawn(ground.plan("sh", "-c", "(sleep 0.01 &) ; sleep 0.1"))
        await finish(launcher, spawned)
        assert launcher.pid is not None
        for pid in children(launcher.pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # a surplus worker, let go meanwhile
                assert comm(pid).startswith("wherryd"), "a zombie, or a container's process"


async def test_descriptors_do_not_add_up(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        before, ours = fd_count(launcher.pid), fd_count(os.getpid())
        for number in range(20):
            try:
                await finish(launcher, await launcher.spawn(ground.plan("true" if number % 2 else "nosuch")))
            except SpawnFailed as error:
                assert number % 2 == 0, error  # noqa: PT017 - every other one must fail
        await wait_fds(launcher.pid, before)
        await wait_fds(os.getpid(), ours)


async def test_other_users_are_refused(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        path = ground.run_dir / "launcher.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o666)
        for directory in (ground.run_dir, ground.run_dir.parent):
            directory.chmod(0o755)
        program = (
            "import socket, os, sys; os.setuid(65534);"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]);"
            "sys.exit(len(s.recv(100)))"
        )
        done = await trio.run_process(["python3", "-c", program, str(path)], check=False)
        assert done.returncode == 0, "another user was greeted"
        await finish(launcher, await launcher.spawn(ground.plan("true")))


@pytest.mark.parametrize("ours", [wire.VERSION + 1, wire.VERSION - 1])
async def test_launcher_of_another_release_keeps_what_it_holds_and_takes_nothing_new(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, ours: int
) -> None:
    """Of an older one, and of a newer one."""
    async with open_launcher(ground.run_dir) as launcher:
        (await launcher.spawn(ground.plan("cat", stdin=True))).close()
        old = launcher.pid
        assert old is not None
    monkeypatch.setattr(wire, "VERSION", ours)
    async with open_launcher(ground.run_dir) as launcher:
        (held,) = launcher.adopted
        assert launcher.draining == (old,)
        assert launcher.pid != old
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        assert (await finish(launcher, held))[0] == Exit(code=0)
        await wait_gone(old)
        assert sorted(path.name for path in ground.run_dir.glob("launcher*")) == ["launcher.sock"]


async def test_launcher_that_takes_no_word_of_ours_is_left_alone_and_told(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        (await launcher.spawn(ground.plan("cat", stdin=True))).close()
    monkeypatch.setattr(wire, "VERSION", wire.VERSION + 1)
    monkeypatch.setattr(wire, "HOLDING_SINCE", wire.VERSION)
    refusal = pytest.RaisesExc(start.LauncherUnavailable, match="start the release that it came from")
    with pytest.RaisesGroup(refusal):
        async with open_launcher(ground.run_dir):
            pass
    monkeypatch.undo()
    async with open_launcher(ground.run_dir) as launcher:
        (held,) = launcher.adopted
        await finish(launcher, held)


@pytest.mark.parametrize(
    ("version", "since", "common"),
    [
        (wire.VERSION, wire.HOLDING_SINCE, wire.VERSION),
        (wire.VERSION - 1, 0, wire.VERSION - 1),
        (wire.VERSION + 3, wire.VERSION, wire.VERSION),
        (wire.VERSION + 3, wire.VERSION + 1, None),
        (wire.HOLDING_SINCE - 1, 0, None),
    ],
)
def test_versions_have_in_common_what_both_speak(version: int, since: int, common: int | None) -> None:
    assert wire.common(version, since) == common
