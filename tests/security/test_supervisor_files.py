"""What the supervisor keeps on the host is root's alone, and so is its socket; names are never paths."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from inside import refused, run
from support.forms import within

from wherry import BadRequest, RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

NOBODY = 65534
TIMEOUT = within(10.0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_nobody_else_can_look_in(wherryd: Daemon, busybox: Path) -> None:
    """The directories are closed to all others, and state and logs have no bit for them either."""
    with wherryd.client() as client:
        made = client.run_detached(RunSpec(image=str(busybox), command=("sh", "-c", "echo x; sleep 1000")))
        directory = wherryd.state_dir / "containers" / made.id
        assert client.inspect(made.id).directory == str(directory)
        for path in (wherryd.state_dir, wherryd.run_dir, wherryd.state_dir / "containers", directory):
            assert mode(path) == 0o700, path
        assert mode(wherryd.run_dir / "control.sock") == 0o600
        assert mode(wherryd.run_dir / "launcher.sock") & 0o077 == 0
        for path in (directory / "log", directory / "log.index", *wherryd.state_dir.glob("*.db*")):
            assert mode(path) & 0o077 == 0, path
            assert path.lstat().st_uid == 0, path


@pytest.mark.parametrize("name", ["control.sock", "launcher.sock"])
def test_another_user_is_refused_even_at_an_open_door(fresh_wherryd: Daemon, name: str) -> None:
    """SO_PEERCRED: with the modes of directory and socket lifted, the process's own word still counts."""
    fresh_wherryd.root.chmod(0o755)
    fresh_wherryd.run_dir.chmod(0o755)
    path = fresh_wherryd.run_dir / name
    path.chmod(0o666)
    kind = "SOCK_STREAM" if name == "control.sock" else "SOCK_SEQPACKET"
    code = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"sock = socket.socket(socket.AF_UNIX, socket.{kind}); sock.settimeout({TIMEOUT})\n"
        "sock.connect(sys.argv[1])\n"
        "try: print(len(sock.recv(100)))\n"
        "except ConnectionResetError: print(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n", "another user was greeted"
    with fresh_wherryd.client() as client:
        assert client.ping().pid == fresh_wherryd.pid


def test_no_abstract_name_is_listened_on(wherryd: Daemon) -> None:
    """Anyone in the network namespace could connect to one."""
    ours = set()
    for pid in (wherryd.pid, wherryd.launcher_pid):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                link = os.readlink(f"/proc/{pid}/fd/{number}")
                if link.startswith("socket:["):
                    ours.add(link[8:-1])
    with open("/proc/net/unix", encoding="utf-8") as table:
        rows = [line.split() for line in table]
    names = [row[7] for row in rows if len(row) > 7 and row[6] in ours]
    assert names
    assert not [name for name in names if name.startswith("@")], names


def test_the_launcher_has_no_environment_to_pass_on(wherryd: Daemon) -> None:
    """Undumpable: its descriptors and memory belong to the host's root alone, and it has no environment."""
    owner = os.stat(f"/proc/{wherryd.launcher_pid}/environ").st_uid
    assert owner == 0
    with open(f"/proc/{wherryd.launcher_pid}/environ", "rb") as environ:
        assert environ.read() == b"", "the launcher has an environment to pass on"


BAD_NAMES = [
    "", ".", "..", "-x", "_x", ".x", "a/b", "/etc", "../x", "a b", "a\n", "a\0", "é", "x" * 129, "a;b",
    "$(id)", "a:b", "a%n", "a\u202eb",
]  # fmt: skip


def test_a_name_that_is_none_is_refused(wherryd: Daemon, busybox: Path) -> None:
    before = wherryd.container_ids()
    with wherryd.client() as client:
        made = client.create(RunSpec(image=str(busybox), command=("true",)))
        for name in BAD_NAMES:
            refused(wherryd, busybox, "true", because=BadRequest, name=name)
            with pytest.raises(BadRequest):
                client.rename(made.id, name)
        assert client.inspect(made.id).summary.name == made.name
        client.remove(made.id)
    assert wherryd.container_ids() == before


def test_a_name_of_letters_digits_dots_and_dashes_is_taken(wherryd: Daemon, busybox: Path) -> None:
    for name in ("a", "A.b_c-1", "0", "x" * 128):
        assert run(wherryd, busybox, "true", name=name).name == name


def test_a_hostname_cannot_write_lines_of_its_own(wherryd: Daemon, busybox: Path) -> None:
    """It goes into /etc/hosts and /etc/hostname."""
    for hostname in ("a b", "a\n127.0.0.1 evil", "-a", "a-", "x" * 64, "a/b", "é", "a\0"):
        refused(wherryd, busybox, "true", because=BadRequest, hostname=hostname)


def test_a_squatted_socket_path_is_refused(fresh_wherryd: Daemon) -> None:
    """A file in the socket's place is not ours to delete."""
    fresh_wherryd.terminate()
    squatter = fresh_wherryd.run_dir / "control.sock"
    squatter.write_text("mine")
    command = [sys.executable, "-m", "wherryd.main", "--state-dir", fresh_wherryd.state_dir]
    command += ["--run-dir", fresh_wherryd.run_dir]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 1
    assert f"{squatter} is in the way" in done.stderr
    assert squatter.read_text() == "mine"
    squatter.unlink()
    fresh_wherryd.start()


def test_a_stale_socket_is_replaced(fresh_wherryd: Daemon) -> None:
    fresh_wherryd.kill()
    with socket.socket(socket.AF_UNIX) as stale, pytest.raises(ConnectionRefusedError):
        stale.connect(str(fresh_wherryd.run_dir / "control.sock"))
    fresh_wherryd.start()
    with fresh_wherryd.client() as client:
        assert client.ping().pid == fresh_wherryd.pid
