"""The supervisor as a service: unit files, an inherited socket, the watchdog, settings read again."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import within

from wherry import BadRequest, Client, RunSpec
from wherryd.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

WHERRY = Path(sys.executable).with_name("wherry")
TIMEOUT = within(30.0)
ANALYZE = shutil.which("systemd-analyze")

AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
os.execv(sys.executable, [sys.executable, "-m", "wherryd.main", *sys.argv[2:]])
"""


def wherry(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WHERRY, *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, **env},
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="wd", dir="/var/tmp") as directory:
        yield Path(directory)


# -- unit files -----


def test_units_are_written_and_removed_below_a_prefix(place: Path) -> None:
    done = wherry("--run-dir", "/run/w %x", "system", "install-unit", "--prefix", str(place), "--name", "box")
    paths = [f"{place}/etc/systemd/system/box.{kind}" for kind in ("service", "socket")]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, paths, "")
    service, unit = (Path(path).read_text(encoding="utf-8") for path in paths)
    for line in ("Type=notify", "KillMode=process", "WatchdogSec=30"):
        assert line in service.splitlines()
    assert 'wherryd --run-dir "/run/w %%x"\n' in service
    assert "ListenStream=/run/w %%x/control.sock\n" in unit
    assert wherry("system", "uninstall-unit", "--prefix", str(place), "--name", "box").stdout.split() == paths
    again = wherry("system", "uninstall-unit", "--prefix", str(place), "--name", "box")
    assert (again.returncode, "there is no such unit" in again.stderr) == (125, True)


def test_print_writes_nothing_and_a_bad_name_is_refused(place: Path) -> None:
    done = wherry("system", "install-unit", "--print", "--prefix", str(place))
    assert (done.returncode, list(place.iterdir())) == (0, [])
    assert done.stdout.startswith("# /etc/systemd/system/wherry.service\n")
    bad = wherry("system", "install-unit", "--name", "../x", "--prefix", str(place))
    assert (bad.returncode, bad.stderr.count("\n"), list(place.iterdir())) == (125, 1, [])


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here (Debian package systemd)")
def test_systemd_finds_nothing_wrong_with_the_units(place: Path) -> None:
    assert ANALYZE is not None
    wherry("system", "install-unit", "--prefix", str(place))
    units = sorted((place / "etc/systemd/system").iterdir())
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *units], check=False, capture_output=True, text=True, timeout=TIMEOUT
    )
    ours = [line for line in done.stderr.splitlines() if "wherry" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


# -- the place of one that a command has started -----

IN_AN_EMPTY_ETC = 'mount -t tmpfs tmpfs /etc && exec "$0" "$@"'
SYSTEMCTL = '#!/bin/sh\necho "$*" >>"$(dirname "$0")/said"\n[ "$1" != show ] || echo 0\n'


def test_a_supervisor_that_a_command_started_makes_room_for_the_units(
    fresh_wherryd: Daemon, busybox: Path, place: Path
) -> None:
    """Else it kept the lock, systemd's socket took its path, and every command waited for ever."""
    systemctl = place / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    with fresh_wherryd.client() as client:
        made = client.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000")))
        pid = client.info().pid
    command = ["unshare", "--mount", "sh", "-c", IN_AN_EMPTY_ETC, str(WHERRY), "system", "install-unit"]
    env = {**fresh_wherryd.environment, "PATH": f"{place}:{os.environ['PATH']}"}

    def install(*more: str) -> str:
        return subprocess.run([*command, *more], env=env, check=True, capture_output=True, text=True).stdout

    assert f"next: kill {pid} && systemctl daemon-reload" in install()
    fresh_wherryd.look_around()
    assert f"(pid {pid}) has ended; its containers go on" in install("--now")
    assert fresh_wherryd.wait_died() == 0
    last = (place / "said").read_text().splitlines()[-1]
    assert last == "enable --now wherry.socket wherry.service"
    fresh_wherryd.start()
    with fresh_wherryd.client() as client:
        assert client.inspect(made.id).summary.state == "running"


# -- the socket that is there before the supervisor -----


@contextmanager
def activated(place: Path, path: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Start a supervisor as a socket unit does, with a notify socket and a watchdog of 0.2 seconds."""
    path.parent.mkdir(mode=0o700)
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes,
    ):
        listening.bind(str(path))
        listening.listen(8)
        notes.bind(str(place / "notify"))
        notes.settimeout(TIMEOUT)
        fd = listening.fileno()
        command = [sys.executable, "-c", AS_SYSTEMD, str(fd)]
        command += ["--run-dir", str(place / "run"), "--state-dir", str(place / "state")]
        env = {**os.environ, "NOTIFY_SOCKET": str(place / "notify"), "WATCHDOG_USEC": "200000"}
        with subprocess.Popen(
            command, pass_fds=[fd], env={**env, "WHERRY_DEFAULT_NETWORK": "none"}, stderr=subprocess.PIPE
        ) as process:
            try:
                yield process, notes
            finally:
                process.kill()


def await_note(notes: socket.socket, wanted: bytes) -> list[bytes]:
    while True:
        lines = notes.recv(4096).split(b"\n")
        if lines[0] == wanted:
            return lines


def test_a_socket_that_came_along_is_served_and_left(place: Path) -> None:
    """A client that was there first is answered; the socket stays for the next start; the watchdog is fed."""
    path = place / "run/control.sock"
    with activated(place, path) as (process, notes), Client(place / "run", autostart=False) as client:
        assert client.ping().pid == process.pid, "a client in the backlog was not answered"
        ready = await_note(notes, b"READY=1")
        assert b"MAINPID=%d" % process.pid in ready
        assert f"STATUS=answers at {path}".encode() in ready
        for _ in range(2):
            await_note(notes, b"WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        assert await_note(notes, b"RELOADING=1")[1].startswith(b"MONOTONIC_USEC=")
        await_note(notes, b"READY=1")
        process.terminate()
        await_note(notes, b"STOPPING=1")
        assert process.wait(TIMEOUT) == 0
        assert path.is_socket(), "the socket is the service manager's"


def test_a_socket_of_another_path_is_refused(place: Path) -> None:
    with activated(place, place / "elsewhere/control.sock") as (process, _):
        _, said = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1
        assert b"clients look at " in said.splitlines()[-1]


# -- settings read again -----


def test_settings_change_while_it_runs(fresh_wherryd: Daemon, busybox: Path) -> None:
    """No file, no change: what is answered is what there is. The signal does the same as the verb."""
    done = fresh_wherryd.cli("system", "reload")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    with fresh_wherryd.client() as client:
        made = client.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000")))
        unit = fresh_wherryd.cli("system", "install-unit", "--print").stdout
        (command,) = re.findall(r"^ExecReload=(.*)$", unit, re.MULTILINE)
        reload = subprocess.run(
            shlex.split(command), capture_output=True, env={}, timeout=TIMEOUT, check=False
        )
        assert (reload.returncode, reload.stderr) == (0, b""), "the unit's way"
        os.kill(fresh_wherryd.pid, signal.SIGHUP)
        reloaded = client.reload()
        assert (dict(reloaded.changed), dict(reloaded.at_next_start)) == ({}, {})
        assert client.inspect(made.id).summary.state == "running"


def test_what_a_changed_file_means(tmp_path: Path) -> None:
    """What can change does; what cannot waits for the next start; a bad value changes nothing at all."""
    from wherryd.logs.limits import LogDefaults, LogLimits
    from wherryd.reloading import Reloader

    class Networks:
        default = "none"

        def set_default(self, network: str) -> None:
            self.default = network

    file, networks, logs = tmp_path / "config.toml", Networks(), LogDefaults(LogLimits())

    def read() -> object:
        return load_settings(state_dir=str(tmp_path), environ={}, config_file=file)

    file.write_text('default_network = "none"\n')
    reloader = Reloader(read(), read, networks, logs)  # type: ignore[arg-type]  # as much of them as it uses
    more = 'default_network = "host"\nstop_containers = true\nrun_dir = "/run/other"\n'
    file.write_text(f"{more}[log]\nmax_file = 2\n")
    reloaded = reloader.reload()
    limits = LogLimits(max_file=2)
    assert reloaded.changed == {"default_network": "host", "stop_containers": "true", "log": str(limits)}
    assert reloaded.at_next_start == {"run_dir": "/run/other"}
    assert (networks.default, reloader.current.stop_containers, logs.limits) == ("host", True, limits)
    file.write_text('default_network = "moon"\nstop_containers = false\n')
    with pytest.raises(BadRequest, match="moon"):
        reloader.reload()
    assert reloader.current.stop_containers
