"""SIGKILL for supervisor, launcher, worker and client while commands run in containers."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rig import PATIENCE, descriptors, wait_for

from wherry import KernelFailure, RunSpec

if TYPE_CHECKING:
    from support.daemon import Daemon

    from wherry import Client


def start(client: Client, image: Path) -> Path:
    """Start the container `c`; return its cgroup."""
    client.run_detached(RunSpec(image=str(image), command=("sleep", "1000"), name="c"))
    return Path(client.inspect("c").cgroup_path)


def pids(cgroup: Path) -> set[int]:
    return {int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()}


def test_an_exit_while_there_was_no_supervisor_is_kept(fresh_wherryd: Daemon, busybox: Path) -> None:
    with fresh_wherryd.client() as client:
        start(client, busybox)
        with client.popen("c", ["sh", "-c", "read x; exit 9"], stdin=-1) as process:
            pid = process.pid
            fresh_wherryd.kill()
            assert process.stdin is not None
            process.stdin.write(b"\n")
            assert wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
            fresh_wherryd.start()
            assert process.wait().code == 9


def test_many_restarts_lose_none_of_many(fresh_wherryd: Daemon, busybox: Path) -> None:
    with fresh_wherryd.client() as client:
        start(client, busybox)
        script = "while read x; do [ $x = end ] && exit 3; echo $x; done; exit 4"
        commands = [client.popen("c", ["sh", "-c", script], stdin=-1) for _ in range(10)]
        ids = {process.id for process in commands}
        for number in range(5):
            fresh_wherryd.kill()
            fresh_wherryd.start()
            assert {found.id for found in client.execs("c")} == ids
            for process in commands:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(b"%d\n" % number)
                assert process.stdout.readline() == b"%d\n" % number
        for process in commands:
            assert process.stdin is not None
            process.stdin.write(b"end\n")
            assert process.wait().code == 3
            process.close()


def test_the_launchers_death_leaves_it_running_and_its_exit_is_not_guessed(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    with fresh_wherryd.client() as client:
        start(client, busybox)
        with client.popen("c", ["sh", "-c", "read x; exit 9"], stdin=-1) as process:
            assert process.pid
            os.kill(fresh_wherryd.launcher_pid, signal.SIGKILL)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            assert process.wait().code in (9, None), "guessed"
        assert client.exec("c", ["sh", "-c", "exit 5"]).exit_code == 5, (
            "no command after the launcher's death"
        )


def test_a_killed_worker_fails_or_is_replaced_and_leaves_nothing(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    with fresh_wherryd.client() as client:
        cgroup = start(client, busybox)
        first = pids(cgroup)
        for _ in range(20):
            for child in _workers(fresh_wherryd.launcher_pid, first):
                with suppress(ProcessLookupError):  # it had done its work
                    os.kill(child, signal.SIGKILL)
            with suppress(KernelFailure):  # its worker was the one that we killed
                assert client.exec("c", ["sh", "-c", "exit 5"]).exit_code == 5
            assert client.exec("c", ["sh", "-c", "exit 5"]).exit_code == 5
        assert wait_for(lambda: pids(cgroup) == first)


def _workers(launcher: int, containers: set[int]) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(pid) for pid in children if int(pid) not in containers]


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.002, 0.003, 0.005, 0.01, 0.05])
def test_a_client_killed_at_any_moment_leaves_no_process(
    fresh_wherryd: Daemon, busybox: Path, delay: float
) -> None:
    with fresh_wherryd.client() as client:
        cgroup = start(client, busybox)
        first = pids(cgroup)
        client.exec("c", ["true"]).check()
        # The supervisor has itself told of OOM kills, once the container has lived for a moment.
        before = descriptors(fresh_wherryd.pid) + 1, descriptors(fresh_wherryd.launcher_pid)
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    client.exec("c", ["sleep", "1000"])
                finally:
                    os._exit(0)
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert wait_for(lambda: pids(cgroup) == first, PATIENCE), "a command outlived its client"
        for pid, held in zip((fresh_wherryd.pid, fresh_wherryd.launcher_pid), before, strict=True):
            assert wait_for(lambda pid=pid, held=held: descriptors(pid) <= held), "descriptors are left"
