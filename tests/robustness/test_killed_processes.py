"""SIGKILL for the supervisor, for the launcher, for both: every exit and every byte is told as it was."""

from __future__ import annotations

import os
import platform
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rig import PATIENCE, spec, wait_for
from support.forms import within

from wherry import RunSpec

if TYPE_CHECKING:
    from support.daemon import Daemon

    from wherry import Client

WRITERS = 20
ROUNDS = 10
WRITER = "trap 'echo end; exit 43' TERM; i=0; while :; do echo $i; i=$((i+1)); read -t 0.01 x; done"
SERVICE = "trap 'exit 6' TERM; echo up; while :; do read -t 9 x; done"
SOON = within(2.0)
LINUX = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def gone(pid: int | None) -> bool:
    """Say whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(") ")[2][0] == "Z"


def end(pid: int | None, number: int) -> None:
    """End a process from outside, and wait until it has."""
    assert pid is not None
    os.kill(pid, number)
    assert wait_for(lambda: gone(pid))


def assert_numbered(printed: bytes, *, ended: bool) -> int:
    """Fail unless every line is there once and in order; return how many there are."""
    lines = printed.decode().splitlines()
    if ended:
        assert lines.pop() == "end", f"the last line is lost: {lines[-3:]}"
    expected = [str(number) for number in range(len(lines))]
    wrong = [pair for pair in zip(lines, expected, strict=True) if pair[0] != pair[1]]
    assert not wrong, f"lines are lost or doubled, first (printed, expected) {wrong[0]} of {len(lines)}"
    return len(lines)


def running(client: Client, image: Path, script: str) -> str:
    """Start a script and return its container's id once it has printed something."""
    made = client.run_detached(spec(image, script, stdin=True))
    with client.log_stream(made.id, follow=True) as lines:
        assert next(iter(lines)).data
    return made.id


def test_a_killed_supervisor_loses_no_exit_and_no_byte(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Ten times, among twenty containers that write; two end, by code and by signal, while nobody looks."""
    daemon, ended, restarts = fresh_wherryd, dict[str, int](), list[float]()
    with daemon.client() as client:
        alive = [running(client, busybox, WRITER) for _ in range(WRITERS)]
        pids = {ref: client.inspect(ref).pid for ref in alive}
    for _ in range(ROUNDS):
        daemon.kill()
        for number in (signal.SIGTERM, signal.SIGKILL):
            ref = alive.pop()
            end(pids[ref], number)
            ended[ref] = number
        began = time.monotonic()
        daemon.start()
        restarts.append(time.monotonic() - began)
        with daemon.client() as client:
            states = {row.id: row.state for row in client.list(all=True)}
            assert states == dict.fromkeys(alive, "running") | dict.fromkeys(ended, "exited")
    with daemon.client() as client:
        for ref, number in ended.items():
            status = client.wait(ref)
            expected = (43, None) if number == signal.SIGTERM else (None, 9)
            assert (status.code, status.signal) == expected, status
            assert assert_numbered(client.logs(ref), ended=number == signal.SIGTERM) > 0
            on_disk = (daemon.state_dir / "containers" / ref / "log").read_bytes()
            assert on_disk == client.logs(ref)
    assert max(restarts) < SOON, restarts


def test_a_killed_launcher_takes_nothing_with_it(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Its containers run on and end as they do; new ones get a new launcher."""
    daemon = fresh_wherryd
    with daemon.client() as client:
        first, second = (running(client, busybox, SERVICE) for _ in range(2))
        launcher = daemon.launcher_pid
        os.kill(launcher, signal.SIGKILL)
        assert wait_for(lambda: client.info().launcher_pid != launcher)
        assert {row.state for row in client.list(all=True)} == {"running"}
        began = time.monotonic()
        stopped = client.stop(first, 10)
        client.kill(second, "KILL")
        killed = client.wait(second)
        if LINUX >= (6, 15):
            assert (stopped.code, killed.signal) == (6, 9), "the kernel tells the exit of an orphan"
        else:
            assert (stopped.exit_code, killed.exit_code) == (None, None), "what nobody saw is not guessed"
        assert time.monotonic() - began < SOON
        result = client.run(RunSpec(image=str(busybox), command=("echo", "again"), auto_remove=True))
        assert (result.exit_code, result.stdout) == (0, b"again\n")
        for ref in (first, second):
            assert client.logs(ref) == b"up\n"
            client.start(ref)
            client.remove(ref, force=True)


def test_containers_of_a_killed_launcher_can_be_removed_by_force(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    with fresh_wherryd.client() as client:
        ref = running(client, busybox, SERVICE)
        os.kill(fresh_wherryd.launcher_pid, signal.SIGKILL)
        client.remove(ref, force=True)
        assert client.list(all=True) == ()
        assert client.run(RunSpec(image=str(busybox), command=("true",), auto_remove=True)).exit_code == 0


def test_everything_killed_at_once_leaves_nothing_but_the_truth(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Supervisor, launcher and containers: the next supervisor says that nobody saw how they ended."""
    daemon = fresh_wherryd
    with daemon.client() as client:
        refs = [running(client, busybox, WRITER) for _ in range(4)]
        pids = [client.inspect(ref).pid for ref in refs]
        held = client.run_detached(RunSpec(image=str(busybox), command=("true",)))
        assert client.wait(held.id).code == 0
        # What is written soon is written together with what is written at once.
        client.rename(held.id, "renamed")
    launcher = daemon.launcher_pid
    os.kill(launcher, signal.SIGSTOP)
    daemon.kill()
    os.kill(launcher, signal.SIGKILL)
    for pid in pids:
        end(pid, signal.SIGKILL)
    daemon.start()
    with daemon.client() as client:
        for ref in refs:
            status = client.wait(ref)
            assert (status.code, status.signal) == (None, None), f"an exit was made up: {status}"
            assert status.error
            assert_numbered(client.logs(ref), ended=False)
        assert client.wait(held.id).code == 0, "an exit that was written down is forgotten"
        left = [path for path in daemon.cgroup.iterdir() if path.is_dir()]
        assert left == [], "cgroups of the dead stay"
        before = len(client.logs(refs[0]))
        client.start(refs[0])
        assert wait_for(lambda: len(client.logs(refs[0])) > before), "it does not write"
        assert client.stop(refs[0], PATIENCE).code == 43


def test_a_supervisor_killed_in_the_middle_of_starts_knows_each_of_them(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """Whatever was under way: afterwards a container is listed and runs or has ended, or it never was."""
    daemon = fresh_wherryd
    for moment in range(5):
        some = [daemon.popen("run", "-d", busybox, "sh", "-c", "echo up; exit 4") for _ in range(8)]
        time.sleep(0.04 + 0.02 * moment)
        daemon.kill()
        for process in some:
            process.communicate(timeout=PATIENCE)
        daemon.start()
        with daemon.client() as client:
            for row in client.list(all=True):
                assert client.wait(row.id).code == 4
                assert client.logs(row.id) == b"up\n"
                client.remove(row.id)
        assert [path for path in daemon.cgroup.iterdir() if path.is_dir()] == []
