"""A new release takes over while containers run: they go on, their launcher drains, its files may be gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import proc
from support.forms import within
from support.releases import VERSION, Release

from wherry import RunSpec, Volume, WherryError
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

    from wherry import Client

PATIENCE = within(20.0)
SPECS: tuple[dict[str, object], ...] = (
    {},
    {"user": "4711:12"},
    {"tty": True},
    {"limits": Limits(memory=64 << 20, pids=20), "read_only": True, "init": True},
    {"network": "bridge"},
    {"volumes": (Volume(source="/usr", target="/mnt", read_only=True),)},
)
COUNTER = "trap 'echo end; exit 43' TERM; i=0; while :; do echo $i; i=$((i+1)); read -t 0.01 x; done"
WAITER = "read x; echo $x; exit 7"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def ended(pid: int | None) -> bool:
    found = proc.process(pid or 0)
    return found is None or found.state == "Z"


def spec(image: Path, script: str, **fields: object) -> RunSpec:
    fields = {"auto_remove": True, **fields}
    return RunSpec(image=os.fspath(image), command=("sh", "-c", script), **fields)  # type: ignore[arg-type]  # its fields


def start(client: Client, image: Path, name: str, script: str, **more: object) -> int:
    """Start a script that reads; return its process id."""
    client.run_detached(spec(image, script, name=name, stdin=True, auto_remove=False, **more))
    pid = client.inspect(name).pid
    assert pid is not None
    return pid


def parent(pid: int | None) -> int:
    found = proc.process(pid or 0)
    assert found is not None
    return found.parent


def drains(client: Client, launcher: int) -> bool:
    return any(f"launcher {launcher} is of another release" in line for line in client.info().warnings)


def numbered(client: Client, name: str) -> int:
    """Return how many lines it printed, each of them once and in order, and its last word."""
    *lines, last = client.logs(name).decode().splitlines()
    assert last == "end"
    assert lines == [str(number) for number in range(len(lines))], "lines are lost or doubled"
    return len(lines)


@pytest.fixture
def old_daemon(fresh_wherryd: Daemon, tmp_path: Path) -> tuple[Daemon, Release]:
    """A supervisor of an older release."""
    release = Release(tmp_path / "old")
    fresh_wherryd.terminate()
    fresh_wherryd.python = release.python
    fresh_wherryd.start()
    with fresh_wherryd.client() as client:
        assert client.info().version == VERSION
    return fresh_wherryd, release


def test_an_upgrade_leaves_containers_running_and_their_launcher_drains(
    old_daemon: tuple[Daemon, Release], busybox: Path
) -> None:
    """Lines, exits, an exec and a terminal of the old release go on; what is new is the new launcher's."""
    daemon, release = old_daemon
    old = daemon.launcher_pid
    with daemon.client() as client, ExitStack() as stack:
        pids = [start(client, busybox, name, COUNTER) for name in ("web", "db")]
        brief = start(client, busybox, "brief", WAITER)
        command = stack.enter_context(client.popen("web", ["sh", "-c", WAITER], stdin=-1))
        assert command.id, "it runs by now"
        daemon.kill()
        os.kill(brief, signal.SIGKILL)
        wait_for(lambda: ended(brief), "it does not end")
        release.delete()
        daemon.python = sys.executable
        daemon.start()
        assert client.info().version != VERSION
        states = {row.name: row.state for row in client.list(all=True)}
        assert states == {"web": "running", "db": "running", "brief": "exited"}
        assert client.wait("brief").signal == signal.SIGKILL, "an exit is lost"
        assert [client.inspect(name).pid for name in ("web", "db")] == pids
        new = daemon.launcher_pid
        assert new != old
        assert drains(client, old)
        # Into old containers, and beside them.
        assert client.exec("web", ("sh", "-c", "echo in; exit 3")).exit_code == 3
        started = start(client, busybox, "fresh", COUNTER)
        assert (parent(started), parent(pids[0])) == (new, old)
        client.start("brief")
        assert parent(client.inspect("brief").pid) == new
        assert command.stdin is not None
        command.stdin.write(b"word\n")
        command.stdin.flush()
        assert command.wait().code == 7, "an exec's exit is lost"
        # The next one finds both.
        daemon.kill()
        daemon.start()
        assert (daemon.launcher_pid, parent(pids[1])) == (new, old)
        for name in ("web", "fresh"):
            assert client.stop(name).code == 43
            assert numbered(client, name) > 0
        assert not ended(old), "it went before its last container"
        client.remove("db", force=True)
        wait_for(lambda: ended(old), "the old launcher holds nothing, and does not end")
        wait_for(lambda: not drains(client, old), "it is said to drain still")
        assert sorted(path.name for path in daemon.run_dir.glob("launcher*")) == ["launcher.sock"]


def test_a_launcher_needs_no_file_of_its_environment(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """Also where it goes on to take new work: neither it nor its workers, old and new, open one."""
    daemon, release = fresh_wherryd, Release(tmp_path / "old", same_launcher=True)
    daemon.terminate()
    daemon.python = release.python
    daemon.start()
    launcher = daemon.launcher_pid
    with daemon.client() as client:
        start(client, busybox, "web", "trap 'exit 3' TERM; while :; do read x; done", tty=True)
    daemon.kill()
    release.delete()
    daemon.python = sys.executable
    daemon.start()
    assert daemon.launcher_pid == launcher
    with traced(launcher, tmp_path / "opened") as opened, daemon.client() as client:
        for user in ("root", "4711"):
            assert client.exec("web", ("id", "-u"), user=user).exit_code == 0
        assert client.exec("web", ("true",), tty=True).exit_code == 0
        for words in ({"args": ("nosuch",)}, {"args": ("true",), "user": "nobody-there"}):
            with pytest.raises(WherryError):
                client.exec("web", **words)  # type: ignore[arg-type]  # its own
        for fields in SPECS:
            assert client.run(spec(busybox, "exit 4", **fields)).exit_code == 4
        with pytest.raises(WherryError):
            client.run(spec(busybox, "true", user="nobody-there"))
        with ThreadPoolExecutor(6) as pool:  # more than there are workers
            assert set(pool.map(lambda _: client.run(spec(busybox, "exit 5")).exit_code, range(6))) == {5}
        assert client.stop("web").code == 3
    found = opened()
    assert any("/proc/self/fd" in line for line in found), "nothing was traced"
    python = "|".join(map(re.escape, (str(tmp_path), sys.base_prefix + "/lib", '.py"', '.pyc"')))
    wrong = [line for line in found if re.search(python, line)]
    assert not wrong, f"it opened {wrong}"


@contextmanager
def traced(pid: int, output: Path) -> Iterator[Callable[[], list[str]]]:
    """Trace what a process and those that it has or makes open and execute; what is given tells which."""
    workers = [each.pid for each in proc.descendants(pid)]
    command = ["strace", "-f", "-qq", "-e", "trace=open,openat,execve", "-o", str(output)]
    command += [f"--attach={each}" for each in workers]
    with subprocess.Popen(command) as strace:
        wait_for(lambda: output.exists() and all(map(is_traced, workers)), "it is not traced")
        try:
            yield lambda: output.read_text().splitlines()
        finally:
            strace.terminate()


def is_traced(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True  # a surplus worker, let go meanwhile
    return "TracerPid:\t0" not in status
