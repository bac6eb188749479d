"""The harness itself: a guard that cannot fail would prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from support import debian, leaks, proc

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon


def test_the_image_runs_in_place(busybox: Path) -> None:
    """The applets are there, and static: they run where there is nothing else."""
    done = subprocess.run(
        ["chroot", busybox, "/bin/sh", "-c", "echo here; id -un"], check=True, capture_output=True
    )
    assert done.stdout == b"here\nroot\n"


def test_the_archives_hold_the_same_image(busybox: Path, busybox_tar: Archives) -> None:
    def names(tar: tarfile.TarFile) -> int:
        return len(tar.getnames())

    for archive in (busybox_tar.tar, busybox_tar.gz, busybox_tar.xz):
        with tarfile.open(archive) as tar:
            assert names(tar) == sum(1 for _ in busybox.rglob("*")) + 1
    assert zstandard.decompress(busybox_tar.zst.read_bytes(), 1 << 26) == busybox_tar.tar.read_bytes()


def test_commands_and_clients_reach_the_supervisor(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        result = client.run(RunSpec(image=str(busybox), command=("echo", "hi"), auto_remove=True))
        assert (result.exit_code, result.stdout) == (0, b"hi\n")
    done = wherryd.cli("run", "--rm", "-i", busybox, "cat", input="typed")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "typed", "")


def test_a_command_gets_a_terminal(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("run", "--rm", "-it", busybox, "sh") as terminal:
        terminal.send("echo $((40 + 2))\n")
        terminal.expect("\n42\r\n")
        terminal.send("exit 3\n")
        assert terminal.wait() == 3


def test_a_test_may_leave_its_containers_to_the_fixture(wherryd: Daemon, busybox: Path) -> None:
    """Removed after the test, so that only what removal forgets is a leak."""
    assert wherryd.cli("run", "-d", busybox, "sleep", "1000").exit_code == 0


def test_a_killed_supervisor_is_started_again(fresh_wherryd: Daemon, busybox: Path) -> None:
    started = fresh_wherryd.cli("run", "-d", busybox, "sleep", "1000")
    fresh_wherryd.kill()
    fresh_wherryd.start()
    assert fresh_wherryd.container_ids() == {started.stdout.strip()}


def test_the_guard_sees_what_is_left_behind(wherryd: Daemon, busybox: Path) -> None:
    """A container's cgroup and directory, and a zombie."""
    before = leaks.snapshot()
    wherryd.cli("run", "-d", "--name", "left", busybox, "sleep", "1000")
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    kinds = {each.split()[0] for each in leaks.snapshot().new_since(before)}
    zombie.wait()
    assert {"cgroup", "directory", "descriptor", "zombie"} <= kinds
    wherryd.cli("rm", "-f", "left")
    assert leaks.wait_clean(before) == []


@pytest.mark.parametrize("thing", ["mount", "link"])
def test_the_guard_sees_the_kernels_things(wherryd: Daemon, thing: str) -> None:
    """A mount below the supervisor's directories, and a network link."""
    before = leaks.snapshot()
    where = wherryd.root / "mounted"
    where.mkdir()
    make, undo = {
        "mount": (["mount", "-t", "tmpfs", "none", where], ["umount", where]),
        "link": (["ip", "link", "add", "leak0", "type", "bridge"], ["ip", "link", "del", "leak0"]),
    }[thing]
    subprocess.run(make, check=True)
    try:
        assert any(each.startswith(thing) for each in leaks.snapshot().new_since(before))
    finally:
        subprocess.run(undo, check=True)
        where.rmdir()


def test_a_reused_process_id_is_another_life() -> None:
    me = proc.process(os.getpid())
    assert me is not None
    assert proc.alive(me)
    child = subprocess.Popen(["sleep", "1000"])
    life = proc.process(child.pid)
    child.kill()
    child.wait()
    assert life is not None
    assert not proc.alive(life)


def test_packages_that_cannot_be_had_are_a_skip_that_names_them_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "apt.conf"
    config.write_text(
        'Acquire::http::Proxy "http://127.0.0.1:1"; Acquire::https::Proxy "http://127.0.0.1:1";'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"Debian packages hello: (E: |there is no apt)"):
        debian.programs("hello")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["apt.conf", "archives"]
