"""A supervisor, or a launcher, that has no descriptor left: it says so, and what runs goes on."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from shortagekit import Lives, one
from support.starving import busy, no_descriptor
from support.waiting import wait_for

from wherry import RunSpec, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

LACK = "the supervisor has no file descriptor left"


def test_a_supervisor_without_descriptors_says_so_and_goes_on(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Whoever comes is refused in one line, whoever is there gets answers; logs grow, exits are seen."""
    with fresh_wherryd.client() as client, Lives(client, busybox) as lives:
        created = client.create(one(busybox, auto_remove=False))
        with no_descriptor(fresh_wherryd.pid):
            done = fresh_wherryd.cli("ps")
            assert (done.exit_code, done.stdout) == (125, ""), done
            assert done.stderr.count("\n") == 1, done.stderr
            assert LACK in done.stderr
            assert "LimitNOFILE" in done.stderr
            with pytest.raises(WherryError, match=r"Too many open files.*LimitNOFILE"):
                client.start(created.id)
            lives.go_on()
            client.kill(lives.ending)
            with ExitStack() as stack:
                for _ in range(50):
                    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                    sock.connect(str(fresh_wherryd.run_dir / "control.sock"))
                used = busy(fresh_wherryd.pid)
            assert used < 0.3, f"it uses {used:.0%} of a processor"
        assert client.wait(lives.ending).signal == signal.SIGKILL
        assert fresh_wherryd.cli("ps").exit_code == 0
        client.start(created.id)
        assert client.wait(created.id).code == 0
        client.remove(created.id)


def test_a_launcher_without_descriptors_says_so_and_goes_on(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Starts and execs fail in one line and leave nothing; exits are seen; then all is well."""
    launcher = fresh_wherryd.launcher_pid
    with fresh_wherryd.client() as client, Lives(client, busybox) as lives:
        client.run(one(busybox)).check()
        held = len(os.listdir(f"/proc/{launcher}/fd"))
        with no_descriptor(launcher):
            for _ in range(3):
                done = fresh_wherryd.cli("run", "--rm", busybox, "true")
                assert (done.exit_code, done.stderr.count("\n")) == (125, 1), done
                assert "Too many open files" in done.stderr
                done = fresh_wherryd.cli("exec", lives.writing, "true")
                assert (done.exit_code, done.stderr.count("\n")) == (125, 1), done
            lives.go_on()
            client.kill(lives.ending)
            assert client.wait(lives.ending).signal == signal.SIGKILL
        assert {each.id for each in client.list(all=True)} == {lives.writing, lives.ending}
        assert client.exec(lives.writing, ("true",)).exit_code == 0
        client.run(one(busybox)).check()
        client.remove(lives.ending)
        assert wait_for(lambda: len(os.listdir(f"/proc/{launcher}/fd")) <= held), "descriptors are left"


MOST = 24
"""Descriptors that a start needs at most, at either end."""


@pytest.mark.parametrize("role", ["supervisor", "launcher"])
def test_whatever_number_is_left_a_start_is_whole_or_nothing(
    fresh_wherryd: Daemon, busybox: Path, role: str
) -> None:
    """With one more each time, until it is enough: an error in one line, and nothing left, or all is well."""
    pid = fresh_wherryd.pid if role == "supervisor" else fresh_wherryd.launcher_pid
    done: list[bool] = []
    with fresh_wherryd.client() as client:
        created = client.create(RunSpec(image=str(busybox), command=("sh", "-c", "echo out; exit 3")))
        client.start(created.id)
        assert client.wait(created.id).code == 3
        for spare in range(MOST):
            with no_descriptor(pid, but=spare):
                try:
                    client.start(created.id)
                except WherryError as error:
                    assert "Too many open files" in str(error), error  # noqa: PT017 - or there is none
                    done.append(False)
                    continue
                done.append(True)
                assert client.wait(created.id).code == 3, f"with {spare} descriptors"
            assert wait_for(lambda: client.list(all=True)[0].log_trouble is None)
        assert client.logs(created.id) == b"out\n" * (1 + sum(done))
        client.remove(created.id)
    assert done[-1], "it never is enough"
    assert not done[0], "it always is enough"


@pytest.mark.parametrize("role", ["supervisor", "launcher"])
def test_whatever_number_is_left_an_exec_is_whole_or_nothing(
    fresh_wherryd: Daemon, busybox: Path, role: str
) -> None:
    """Its client's descriptors that ride along included; the container knows nothing of it."""
    pid = fresh_wherryd.pid if role == "supervisor" else fresh_wherryd.launcher_pid
    done: list[bool] = []
    with fresh_wherryd.client() as client, Lives(client, busybox) as lives:
        client.exec(lives.writing, ("true",)).check()
        for spare in range(MOST):
            with no_descriptor(pid, but=spare):
                try:
                    done.append(client.exec(lives.writing, ("sh", "-c", "echo out; exit 3")).exit_code == 3)
                except WherryError as error:
                    assert "Too many open files" in str(error), error  # noqa: PT017 - or there is none
                    done.append(False)
        assert client.exec(lives.writing, ("sh", "-c", "echo out; exit 3")).stdout == b"out\n"
        processes = {each.comm for each in client.top(lives.writing)}
        assert processes <= {"sh", "usleep"}, "a command is left"
    assert done[-1], "it never is enough"
    assert not done[0], "it always is enough"
