"""export, commit and diff: the root of a container, whole, consistent, and nothing else."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from clikit import await_line, detached, field, ok, read_line, refused, running, wait_for
from support import treekit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon


@pytest.fixture
def everything(busybox: Path, tmp_path: Path) -> Path:
    """A directory image with a folder /all of all that a tree can have."""
    image = tmp_path / "image"
    shutil.copytree(busybox, image, symlinks=True)
    (image / "all").mkdir()
    treekit.make_everything(image / "all")
    return image


@pytest.fixture
def images(wherryd: Daemon) -> Iterator[None]:
    """Images that a test makes go after it."""
    before = set(wherryd.cli("images", "-q", "--no-trunc").stdout.split())
    yield
    wherryd.remove_containers()
    for digest in set(wherryd.cli("images", "-q", "--no-trunc").stdout.split()) - before:
        wherryd.cli("rmi", "-f", digest)


def unpacked(archive: Path, where: Path) -> Path:
    """Unpack with GNU tar, which shares no line with ours."""
    where.mkdir()
    command = ["tar", "-xpf", archive, "-C", where, "--xattrs", "--xattrs-include=*", "--numeric-owner"]
    subprocess.run(command, check=True)
    return where


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [member.name for member in tar]


def test_export_loses_nothing_that_a_tree_can_have(wherryd: Daemon, everything: Path, tmp_path: Path) -> None:
    """Owners, modes, times to the nanosecond, attributes, hardlinks, holes, names: as GNU tar unpacks it."""
    detached(wherryd, "--name", "all", everything, "sleep", "1000")
    ok(wherryd, "export", "-o", tmp_path / "all.tar", "all")
    made = unpacked(tmp_path / "all.tar", tmp_path / "out")
    assert treekit.described(made / "all") == treekit.described(everything / "all")
    sparse = (made / "all/sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size // 4, "the holes were filled"


def test_export_of_a_running_and_of_an_ended_container_are_the_same(
    wherryd: Daemon, everything: Path, tmp_path: Path
) -> None:
    changes = "rm /all/plain; echo new > /all/new; rm -r /all/closed; mkdir /all/closed; echo up; sleep 1000"
    detached(wherryd, "--name", "twice", everything, "sh", "-c", changes)
    await_line(wherryd, "twice", "up")
    ok(wherryd, "export", "-o", tmp_path / "running.tar", "twice")
    ok(wherryd, "kill", "twice")
    ok(wherryd, "wait", "twice")
    ok(wherryd, "export", "-o", tmp_path / "ended.tar", "twice")
    assert (tmp_path / "running.tar").read_bytes() == (tmp_path / "ended.tar").read_bytes()
    assert "all/new" in names_in(tmp_path / "ended.tar")
    assert "all/plain" not in names_in(tmp_path / "ended.tar")
    assert "all/closed/secret" not in names_in(tmp_path / "ended.tar")


def test_volumes_and_pseudo_file_systems_stay_out(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """The C original packed the mounted host volumes too."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/theirs").write_text("not the container's")
    detached(
        wherryd, "--name", "mounts", "-v", f"{tmp_path}/volume:/data", "--tmpfs", "/scratch", busybox,
        "sh", "-c", "echo x > /scratch/x; sleep 1000",
    )  # fmt: skip
    ok(wherryd, "export", "-o", tmp_path / "out.tar", "mounts")
    found = names_in(tmp_path / "out.tar")
    assert {"data", "scratch", "proc", "sys", "dev"} <= set(found)
    inside = [name for name in found if name.startswith(("data/", "scratch/", "proc/", "sys/", "dev/"))]
    assert inside == []


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"])
@pytest.mark.usefixtures("images")
def test_commit_to_a_file_gives_the_same_tree_again(
    wherryd: Daemon, everything: Path, tmp_path: Path, suffix: str
) -> None:
    """Commit, run, export: file by file what it was."""
    script = "rm /all/empty; echo more >> /all/plain; ln /all/linked /all/third; echo up; sleep 1000"
    detached(wherryd, "--name", "first", everything, "sh", "-c", script)
    await_line(wherryd, "first", "up")
    archive = tmp_path / f"kept.{suffix}"
    assert ok(wherryd, "commit", "first", archive) == f"{archive}\n"
    detached(wherryd, "--name", "second", archive, "sleep", "1000")
    for name in ("first", "second"):
        ok(wherryd, "export", "-o", tmp_path / f"{name}.tar", name)
    first, second = (unpacked(tmp_path / f"{name}.tar", tmp_path / name) for name in ("first", "second"))
    assert treekit.described(second / "all") == treekit.described(first / "all")


def test_commit_without_a_file_writes_the_name_here(
    wherryd: Daemon, busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the C original: NAME.tar in the current directory."""
    monkeypatch.chdir(tmp_path)
    identity = detached(wherryd, "--name", "plain", busybox, "sleep", "1000")
    assert ok(wherryd, "commit", identity[:12]) == "plain.tar\n"
    assert os.listdir(tmp_path) == ["plain.tar"]
    assert (tmp_path / "plain.tar").stat().st_mode & 0o777 == 0o600


def test_export_to_a_pipe(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "piped", busybox, "sleep", "1000")
    with wherryd.popen("export", "piped") as process:
        data, _ = process.communicate(timeout=20)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "bin/busybox" in tar.getnames()


def test_export_refuses_a_terminal(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "shown", busybox, "sleep", "1000")
    done = wherryd.cli("export", "shown", tty=True)
    assert (done.exit_code, "is a terminal" in done.stdout) == (125, True)


def test_a_container_stands_still_while_it_is_read(wherryd: Daemon, busybox: Path) -> None:
    """A reader that takes nothing holds the export up, and with it the container; then it goes on."""
    script = "i=0; while true; do i=$((i+1)); echo $i > /count; done"
    identity = detached(wherryd, "--name", "busy", busybox, "sh", "-c", script)
    frozen = wherryd.cgroup / identity / "cgroup.events"
    with running(wherryd, "export", "busy"):
        assert wait_for(lambda: "frozen 1" in frozen.read_text()), "it was never frozen"
        assert field(wherryd, "busy", "State.Status") == "running", "it is not paused: nobody asked for that"
    assert wait_for(lambda: "frozen 0" in frozen.read_text()), "it stays frozen after the client was killed"


def test_no_pause_lets_it_run(wherryd: Daemon, busybox: Path) -> None:
    identity = detached(wherryd, "--name", "free", busybox, "sleep", "1000")
    with running(wherryd, "export", "--no-pause", "free") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        assert "frozen 0" in (wherryd.cgroup / identity / "cgroup.events").read_text()


def test_a_pause_and_an_unpause_meanwhile_win_in_the_end(wherryd: Daemon, busybox: Path) -> None:
    """What the user said last holds when the reader is done; until then it stands still."""
    identity = detached(wherryd, "--name", "told", busybox, "sleep", "1000")
    frozen = wherryd.cgroup / identity / "cgroup.events"
    with running(wherryd, "export", "told"):
        assert wait_for(lambda: "frozen 1" in frozen.read_text())
        ok(wherryd, "pause", "told")
        ok(wherryd, "unpause", "told")
        assert "frozen 1" in frozen.read_text(), "it was thawed under the reader"
        ok(wherryd, "pause", "told")
    with wherryd.client() as client:
        assert client.ping()
    assert "frozen 1" in frozen.read_text(), "a paused container was thawed by the reader's end"
    ok(wherryd, "unpause", "told")
    assert wait_for(lambda: "frozen 0" in frozen.read_text())


def test_a_killed_supervisor_leaves_nothing_frozen(fresh_wherryd: Daemon, busybox: Path) -> None:
    identity = detached(fresh_wherryd, "--name", "left", busybox, "sleep", "1000")
    frozen = fresh_wherryd.cgroup / identity / "cgroup.events"
    with running(fresh_wherryd, "export", "left"):
        assert wait_for(lambda: "frozen 1" in frozen.read_text())
        fresh_wherryd.kill()
    fresh_wherryd.start()
    assert wait_for(lambda: "frozen 0" in frozen.read_text()), "it stays frozen after the recovery"
    assert field(fresh_wherryd, "left", "State.Status") == "running"


def test_a_stop_ends_what_is_being_read(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "stopped", busybox, "sleep", "1000")
    with running(wherryd, "export", "stopped") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        ok(wherryd, "kill", "stopped")
        ok(wherryd, "wait", "stopped")


def test_a_killed_client_leaves_no_half_of_a_file(wherryd: Daemon, everything: Path, tmp_path: Path) -> None:
    with (everything / "big").open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(1 << 20))
    detached(wherryd, "--name", "big", everything, "sleep", "1000")
    (tmp_path / "out").mkdir()
    with wherryd.popen("commit", "big", tmp_path / "out/big.tar.xz") as process:
        assert wait_for(lambda: b"big.tar.xz" in _links(process.pid) or b"(deleted)" in _links(process.pid))
        process.send_signal(signal.SIGKILL)
    assert os.listdir(tmp_path / "out") == []


def _links(pid: int) -> bytes:
    found: list[bytes] = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.append(os.readlink(os.fsencode(f"/proc/{pid}/fd/{descriptor}")))
    return b" ".join(found)


def test_what_stood_there_stays_until_the_new_one_is_whole(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.tar").write_text("old")
    refused(wherryd, "commit", "nobody", tmp_path / "kept.tar")
    assert (tmp_path / "kept.tar").read_text() == "old"
    detached(wherryd, "--name", "new", busybox, "sleep", "1000")
    ok(wherryd, "commit", "new", tmp_path / "kept.tar")
    assert "bin/busybox" in names_in(tmp_path / "kept.tar")
    assert os.listdir(tmp_path) == ["kept.tar"]


def test_an_archive_that_cannot_be_written(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    detached(wherryd, "--name", "fine", busybox, "sleep", "1000")
    assert "no such file or directory" in refused(wherryd, "commit", "fine", tmp_path / "no/x.tar")
    assert "a directory is there" in refused(wherryd, "export", "-o", tmp_path, "fine")
    assert "no space left" in refused(wherryd, "export", "-o", "/dev/full", "fine")
    assert "no container nobody" in refused(wherryd, "export", "-o", tmp_path / "x.tar", "nobody")
    assert os.listdir(tmp_path) == []


def test_diff_tells_added_changed_and_deleted(wherryd: Daemon, everything: Path) -> None:
    """As docker diff: parents of a change are changed; what wherry makes to mount on is no change."""
    script = """
        rm /all/plain; echo x >> /all/owned; mkdir /all/new; echo y > /all/new/file
        rm -r /all/closed; mkdir /all/closed; rm -r /all/sticky; echo z > /all/sticky
        chmod 700 /home; echo up; sleep 1000
    """
    detached(wherryd, "--name", "changed", everything, "sh", "-c", script)
    await_line(wherryd, "changed", "up")
    expected = [
        "C /all", "C /all/closed", "D /all/closed/secret", "A /all/new", "A /all/new/file", "C /all/owned",
        "D /all/plain", "C /all/sticky", "C /home",
    ]  # fmt: skip
    assert ok(wherryd, "diff", "changed").splitlines() == expected
    ok(wherryd, "kill", "changed")
    ok(wherryd, "wait", "changed")
    assert ok(wherryd, "diff", "changed").splitlines() == expected
    first = json.loads(ok(wherryd, "diff", "--format", "json", "changed").splitlines()[0])
    assert first == {"Kind": "C", "Path": "/all"}


def test_diff_of_a_container_that_changed_nothing(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "idle", busybox, "sleep", "1000")
    assert ok(wherryd, "diff", "idle") == ""
    ok(wherryd, "create", "--name", "never", busybox, "true")
    assert ok(wherryd, "diff", "never") == ""
    assert "no container nobody" in refused(wherryd, "diff", "nobody")


def test_a_start_waits_for_a_reader_and_a_removal_is_refused(wherryd: Daemon, busybox: Path) -> None:
    """The files of a container that does not run are mounted for the reader."""
    ok(wherryd, "create", "--name", "waits", busybox, "echo", "started")
    with running(wherryd, "export", "waits") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        assert "being read" in refused(wherryd, "rm", "waits")
        with running(wherryd, "start", "-a", "waits") as starter:
            assert wait_for(lambda: field(wherryd, "waits", "State.Status") == "created")
            process.kill()
            assert read_line(starter) == "started"


@pytest.mark.parametrize("alive", [True, False])
def test_a_forced_removal_cuts_the_reader_off(wherryd: Daemon, busybox: Path, alive: bool) -> None:
    """The removal does not wait for somebody who reads for hours; the reader is told why it ends."""
    ok(wherryd, *(("run", "-d") if alive else ("create",)), "--name", "gone", busybox, "sleep", "1000")
    with running(wherryd, "export", "gone") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        ok(wherryd, "rm", "-f", "gone")
        _, errors = process.communicate(timeout=20)
    assert b"was removed meanwhile" in errors


def test_sockets_and_devices_are_left_out_and_named(
    wherryd: Daemon, everything: Path, tmp_path: Path
) -> None:
    """An image brings neither, so an archive with one could not be run."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(everything / "all/socket"))
    os.mknod(everything / "all/device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    detached(wherryd, "--name", "odd", everything, "sleep", "1000")
    done = wherryd.cli("commit", "odd", tmp_path / "odd.tar")
    assert done.exit_code == 0
    assert (
        done.stderr
        == "wherry: left out: /all/device (a socket or device), /all/socket (a socket or device)\n"
    )
    assert ok(wherryd, "run", "--rm", tmp_path / "odd.tar", "cat", "/all/owned") == "theirs"


def test_a_tree_that_is_deeper_than_an_archive_may_be(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """A container can go on making folders; what reads them must not."""
    script = "i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; echo up; sleep 1000"
    detached(wherryd, "--name", "deep", busybox, "sh", "-c", script)
    await_line(wherryd, "deep", "up")
    assert "too deep" in refused(wherryd, "export", "-o", tmp_path / "x.tar", "deep")
    assert "folders deep" in refused(wherryd, "diff", "deep")
    assert "too deep" in refused(wherryd, "cp", "deep:/d", tmp_path / "d")
    assert not (tmp_path / "x.tar").exists()
