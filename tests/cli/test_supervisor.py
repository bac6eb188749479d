"""`wherryd` itself: its flags, where it keeps things, how it ends, what it refuses, and who starts it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import PATIENCE, await_line, detached, field, names, ok, refused
from support.daemon import Daemon
from support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

WHERRYD = str(Path(sys.executable).with_name("wherryd"))
WHERRY = str(Path(sys.executable).with_name("wherry"))
NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for a supervisor's directories, on a disk, with a short path."""
    with tempfile.TemporaryDirectory(prefix="wherry-", dir="/var/tmp") as path:
        yield Path(path)


def environment(**more: str | Path) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("WHERRY_")}
    return {**ours, **{key: str(value) for key, value in more.items()}}


def flags(place: Path) -> list[str]:
    return ["--state-dir", str(place / "state"), "--run-dir", str(place / "run")]


def fails(*command: str, code: int = 1) -> str:
    """Run a supervisor that must refuse to start, with one line; return the line."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PATIENCE, env=environment()
    )
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("wherryd: "), done
    assert done.stderr.count("\n") == 1, f"not exactly one line: {done.stderr}"
    return done.stderr


@contextmanager
def supervisor(*command: str, place: Path, env: dict[str, str]) -> Iterator[list[bytes]]:
    """Run a supervisor in the foreground until the block ends; what it notifies is in the list afterwards."""
    address, notes = place / "notify", list[bytes]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(address))
        notify.settimeout(PATIENCE)
        with subprocess.Popen(
            command, env={**env, "NOTIFY_SOCKET": str(address)}, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                notes.append(notify.recv(100))
                yield notes
            finally:
                process.terminate()
                _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said
        notes.append(notify.recv(100))


def fill(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it is the loop's end


def wherry(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WHERRY, *words], check=False, capture_output=True, text=True, timeout=PATIENCE, env=env
    )


@contextmanager
def stopped_at_the_end(place: Path, log: Path) -> Iterator[None]:
    """End the supervisor in the background whose lock is in the directory."""
    try:
        yield
    finally:
        pid = int((place / "run/lock").read_text())
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        ended, _, _ = select.select([pidfd], [], [], PATIENCE)
        os.close(pidfd)
        assert ended, log.read_text()


# -- where it keeps things -----


def test_directories_by_flag_are_private(place: Path) -> None:
    env = environment(WHERRY_STATE_DIR="/nowhere/state", WHERRY_RUN_DIR="/nowhere/run")
    with supervisor(WHERRYD, *flags(place), place=place, env=env):
        assert (place / "state").stat().st_mode & 0o777 == 0o700
        assert (place / "run").stat().st_mode & 0o777 == 0o700
        assert (place / "run/control.sock").stat().st_mode & 0o777 == 0o600
        assert wherry("--run-dir", str(place / "run"), "info", env=environment()).returncode == 0


def test_directories_by_environment(place: Path) -> None:
    env = environment(WHERRY_STATE_DIR=place / "s", WHERRY_RUN_DIR=place / "r")
    with supervisor(WHERRYD, place=place, env=env):
        done = wherry("info", "--format", "{{.StateDir}} {{.RunDir}}", env=env)
        assert done.stdout == f"{place}/s {place}/r\n", done


def test_directories_by_configuration_file(place: Path) -> None:
    """/etc/wherry/config.toml, in a mount namespace of this test's own."""
    (place / "etc/wherry").mkdir(parents=True)
    settings = f'state_dir = "{place}/s"\nrun_dir = "{place}/r"\n'
    (place / "etc/wherry/config.toml").write_text(settings)
    script = f'mount -t overlay none -o lowerdir={place}/etc:/etc /etc && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", script, "sh"]
    with supervisor(*inside, WHERRYD, place=place, env=environment()):
        done = subprocess.run(
            [*inside, WHERRY, "info", "--format", "{{.StateDir}}"],
            check=False, capture_output=True, text=True, env=environment(WHERRY_NO_AUTOSTART="1"),
        )  # fmt: skip
        assert done.stdout == f"{place}/s\n", done


@pytest.mark.parametrize(
    ("text", "word"), [("state_dir = 5\n", "state_dir"), ("nope = 1\n", "nope"), ("= x\n", "config.toml")]
)
def test_a_configuration_file_that_is_wrong(place: Path, text: str, word: str) -> None:
    (place / "etc/wherry").mkdir(parents=True)
    (place / "etc/wherry/config.toml").write_text(text)
    script = f'mount -t overlay none -o lowerdir={place}/etc:/etc /etc && exec "$@"'
    assert word in fails("unshare", "--mount", "sh", "-c", script, "sh", WHERRYD, *flags(place))


def test_a_long_run_directory_is_refused(place: Path) -> None:
    assert "107" in fails(WHERRYD, "--state-dir", str(place), "--run-dir", f"{place}/{'x' * 100}")


# -- what it refuses -----


def test_a_second_supervisor_on_the_same_directory_is_refused(
    fresh_wherryd: Daemon, busybox: Path, place: Path
) -> None:
    container = detached(fresh_wherryd, busybox, "sleep", "1000")
    own = ["--state-dir", str(fresh_wherryd.state_dir), "--run-dir", str(fresh_wherryd.run_dir)]
    for command in (
        [WHERRYD, *own],
        [WHERRYD, "--detach", *own],
        [WHERRYD, *own[:2], "--run-dir", str(place / "run")],
    ):
        line = fails(*command, code=3)
        assert f"pid {fresh_wherryd.pid}" in line, f"the holder is not named: {line}"
    assert {path.name for path in (place / "run").iterdir()} <= {"lock", "root"}
    assert field(fresh_wherryd, container, "State.Status") == "running"


def test_it_must_be_root(place: Path) -> None:
    """Everything is imported before root is given up: the interpreter may lie where nobody else can read."""
    code = (
        "import os, sys, wherryd.main, wherryd.kernel.features, locale, shutil\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "wherryd.main.main(sys.argv[1:])"
    )
    assert "root" in fails(sys.executable, "-c", code, *flags(place))
    assert list(place.iterdir()) == []


def test_a_client_that_is_not_root_is_refused(wherryd: Daemon) -> None:
    code = (
        "import os, sys, wherry.cli.main, wherry.cli.ps, wherry.client, wherry.autostart, locale, shutil\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sys.argv = ['wherry', 'ps']; wherry.cli.main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=wherryd.environment
    )
    assert (done.returncode, done.stdout) == (125, ""), done
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_state_directory_that_cannot_be_used(place: Path) -> None:
    (place / "file").write_text("mine")
    assert str(place / "file") in fails(
        WHERRYD, "--state-dir", str(place / "file"), "--run-dir", str(place / "run")
    )
    assert (place / "file").read_text() == "mine"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
    try:
        assert "Read-only" in fails(WHERRYD, *flags(place))
        assert "Read-only" in fails(WHERRYD, "--detach", *flags(place))
    finally:
        subprocess.run(["umount", place], check=True)


def test_unknown_flags_are_usage_errors(place: Path) -> None:
    done = subprocess.run([WHERRYD, "--nope"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--nope" in done.stderr
    assert subprocess.run([WHERRYD, "--version"], check=True, capture_output=True).stdout.startswith(
        b"wherryd "
    )


def test_a_full_state_directory_refuses_and_recovers(place: Path, busybox: Path) -> None:
    """A run on a full disk is one clear line; with room again it works."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)
    daemon = Daemon()
    daemon.state_dir = place / "state"
    try:
        daemon.start()
        ok(daemon, "run", "--rm", busybox, "true")
        fill(place / "filler")
        line = refused(daemon, "run", busybox, "true")
        assert "full" in line or "No space left" in line, line
        assert names(daemon, "-a") == []
        (place / "filler").unlink()
        ok(daemon, "run", "--rm", busybox, "true")
    finally:
        daemon.close()
        subprocess.run(["umount", place], check=True)


# -- how it lives and ends -----


def test_it_tells_the_service_manager(place: Path) -> None:
    with supervisor(WHERRYD, *flags(place), place=place, env=environment()) as notes:
        pass
    assert [note.split(b"\n")[0] for note in notes] == [b"READY=1", b"STOPPING=1"]
    assert not (place / "run/control.sock").exists()


def test_two_supervisors_live_side_by_side(wherryd: Daemon, fresh_wherryd: Daemon, busybox: Path) -> None:
    for daemon in (wherryd, fresh_wherryd):
        detached(daemon, "--name", "same", busybox, "sleep", "1000")
    assert field(wherryd, "same", "Id") != field(fresh_wherryd, "same", "Id")
    ok(fresh_wherryd, "rm", "-f", "same")
    assert names(wherryd) == ["same"]


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_containers_outlive_the_supervisor(fresh_wherryd: Daemon, busybox: Path, how: str) -> None:
    """What still runs is taken back, what ended meanwhile has its code, and no output is lost or doubled."""
    script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 1000 & wait $!; done"
    for name in ("stays", "ends"):
        detached(fresh_wherryd, "--name", name, busybox, "sh", "-c", script)
        await_line(fresh_wherryd, name, "up")
    pids = {name: int(field(fresh_wherryd, name, "State.Pid")) for name in ("stays", "ends")}
    began = time.monotonic()
    getattr(fresh_wherryd, how)()
    assert time.monotonic() - began < 5, "the supervisor took long to end"
    assert "no supervisor" in refused(fresh_wherryd, "ps")
    pidfd = os.pidfd_open(pids["ends"])
    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    assert select.select([pidfd], [], [], PATIENCE)[0], "it did not end"
    os.close(pidfd)
    over = time.time()
    fresh_wherryd.start()
    heard = time.time()
    assert ok(fresh_wherryd, "wait", "ends") == "7\n", "an exit that nobody watched was lost"
    assert ok(fresh_wherryd, "logs", "ends") == "up\nbye\n"
    ended = datetime.fromisoformat(field(fresh_wherryd, "ends", "State.FinishedAt"))
    assert ended.timestamp() - over < (heard - over) / 4, "it is told to have ended when that was heard of"
    assert int(field(fresh_wherryd, "stays", "State.Pid")) == pids["stays"]
    ok(fresh_wherryd, "stop", "-t", "60", "stays", timeout=20)
    assert ok(fresh_wherryd, "logs", "stays") == "up\nbye\n"
    assert field(fresh_wherryd, "stays", "State.ExitCode") == "7"


def test_stop_containers_stops_them(busybox: Path) -> None:
    daemon = Daemon()
    try:
        daemon.start("--stop-containers")
        script = "trap 'exit 3' TERM; echo up; while :; do sleep 1000 & wait $!; done"
        detached(daemon, "--name", "svc", busybox, "sh", "-c", script)
        await_line(daemon, "svc", "up")
        assert daemon.terminate() == 0
        daemon.start()
        assert field(daemon, "svc", "State.Status") == "exited"
        assert field(daemon, "svc", "State.ExitCode") == "3"
    finally:
        daemon.close()


def test_containers_are_stopped_when_the_machine_goes_down(
    busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a first process without a handler, which no SIGTERM ends, holds that up for long.

    Without a unit of its own a supervisor hears of it twice, and what it starts meanwhile once.
    """
    systemctl = tmp_path / "systemctl"
    ended_once = f"mkdir {tmp_path}/once 2>/dev/null && kill $$"
    systemctl.write_text(f'#!/bin/sh\n{ended_once}\n[ "$*" = is-system-running ] && echo stopping\nexit 1\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    daemon = Daemon()
    try:
        daemon.start()
        script = "trap 'sleep 0.5; exit 3' TERM; echo up; while :; do sleep 1000 & wait $!; done"
        detached(daemon, "--name", "svc", busybox, "sh", "-c", script)
        await_line(daemon, "svc", "up")
        daemon.look_around()
        os.kill(daemon.pid, signal.SIGTERM)
        assert wait_for(lambda: "supervisor stopping" in daemon.log)
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait_died() == 0
        daemon.start()
        assert field(daemon, "svc", "State.Status") == "exited"
        assert field(daemon, "svc", "State.ExitCode") == "3"
    finally:
        daemon.close()


def test_debug_prints_the_plan(busybox: Path) -> None:
    daemon = Daemon()
    try:
        daemon.start("--debug")
        ok(daemon, "run", "--rm", busybox, "true")
        assert "event=plan" in daemon.log
        assert "level=info" in daemon.log
    finally:
        daemon.close()


def test_a_running_follower_is_told_when_the_supervisor_ends(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Who has no patience with the next one (WHERRY_RECONNECT=0) gets an error."""
    container = detached(fresh_wherryd, busybox, "sh", "-c", "echo up; exec sleep 1000")
    with fresh_wherryd.popen("logs", "-f", container, env={"WHERRY_RECONNECT": "0"}) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"up\n"
        fresh_wherryd.terminate()
        _, said = follower.communicate(timeout=PATIENCE)
        assert (follower.returncode, said.count(b"\n")) == (125, 1), said
    fresh_wherryd.start()


# -- who starts it -----


def test_detach_returns_when_it_is_ready(place: Path) -> None:
    env = environment(WHERRY_RUN_DIR=place / "run", WHERRY_NO_AUTOSTART="1")
    done = subprocess.run(
        [WHERRYD, "--detach", *flags(place)], check=False, capture_output=True, text=True, timeout=30, env=env
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with stopped_at_the_end(place, place / "state/wherryd.log"):
        assert wherry("ps", env=env).returncode == 0, "it was not ready when --detach returned"
        pid = int((place / "run/lock").read_text())
        assert os.getsid(pid) == pid, "it is still in the session of who started it"
    assert "supervisor stopping" in (place / "state/wherryd.log").read_text()


def test_the_command_starts_a_supervisor_when_there_is_none(place: Path, busybox: Path) -> None:
    env = environment(WHERRY_STATE_DIR=place / "state", WHERRY_RUN_DIR=place / "run")
    done = wherry("run", "--rm", str(busybox), "echo", "started", env=env)
    with stopped_at_the_end(place, place / "state/wherryd.log"):
        assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_two_commands_at_once_start_one_supervisor(place: Path) -> None:
    env = environment(WHERRY_STATE_DIR=place / "state", WHERRY_RUN_DIR=place / "run")
    with ExitStack() as stack:
        pipe = subprocess.PIPE
        both = [
            stack.enter_context(
                subprocess.Popen([WHERRY, "info", "--format", "{{.Pid}}"], stdout=pipe, stderr=pipe, env=env)
            )
            for _ in range(2)
        ]
        answers = [each.communicate(timeout=30) for each in both]
    with stopped_at_the_end(place, place / "state/wherryd.log"):
        assert [each.returncode for each in both] == [0, 0], answers
        assert answers[0] == answers[1], "two supervisors were started"


def test_no_autostart_is_an_error_with_a_hint(place: Path) -> None:
    env = environment(WHERRY_RUN_DIR=place / "run", WHERRY_NO_AUTOSTART="1")
    done = wherry("ps", env=env)
    assert (done.returncode, done.stdout) == (125, "")
    assert "start one with 'wherryd'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(place.iterdir()) == []
    assert "not running" in wherry("version", env=env).stdout


def test_an_autostart_that_fails_says_why(place: Path) -> None:
    (place / "state").write_text("a file")
    env = environment(WHERRY_STATE_DIR=place / "state", WHERRY_RUN_DIR=place / "run")
    done = wherry("ps", env=env)
    assert (done.returncode, done.stdout) == (125, "")
    assert str(place / "state") in done.stderr
    assert done.stderr.count("\n") == 1
