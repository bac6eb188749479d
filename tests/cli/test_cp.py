"""cp: docker's rules both ways, archives through pipes, volumes, owners; and what is in the way."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from clikit import await_line, detached, ok, refused
from support import treekit

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


@pytest.fixture
def box(wherryd: Daemon, busybox: Path) -> Daemon:
    """A running container `box` with /dir/{one,sub/two}, /file, and links to them."""
    script = """
        mkdir -p /dir/sub; echo 1 > /dir/one; echo 2 > /dir/sub/two; echo f > /file
        ln -s /dir /to-dir; ln -s file /to-file; ln -s nowhere /dangling
        chown 1000:2000 /file; chmod 6755 /file; echo up; sleep 1000
    """
    detached(wherryd, "--name", "box", busybox, "sh", "-c", script)
    await_line(wherryd, "box", "up")
    return wherryd


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with dir/{one,sub/two}, file, and links to them."""
    folder = tmp_path / "here"
    (folder / "dir/sub").mkdir(parents=True)
    (folder / "dir/one").write_text("1\n")
    (folder / "dir/sub/two").write_text("2\n")
    (folder / "file").write_text("f\n")
    (folder / "to-dir").symlink_to("dir")
    (folder / "to-file").symlink_to("file")
    monkeypatch.chdir(folder)
    return folder


def find(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def look(daemon: Daemon, path: str) -> list[str]:
    """Return what is in a folder of the container, by way of cp itself."""
    with daemon.popen("cp", f"box:{path}", "-") as process:
        data, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b""), errors
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return sorted(name.partition("/")[2] for name in tar.getnames() if "/" in name)


def read(daemon: Daemon, path: str) -> bytes:
    with daemon.popen("cp", f"box:{path}", "-") as process:
        data, _ = process.communicate(timeout=20)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(tar.next() or "")
        assert file is not None
        return file.read()


def archive(name: str, contents: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(contents)
        tar.addfile(info, io.BytesIO(contents))
    return data.getvalue()


TREE = ["one", "sub", "sub/two"]


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        ("/file", "new", {"new"}),
        ("/file", "file", set()),
        ("/file", "dir", {"dir/file"}),
        ("/file", "dir/", {"dir/file"}),
        ("file", ".", set()),
        ("/file", "to-dir", {"dir/file"}),
        ("/file", "to-file", set()),
        ("/dir", "new", {"new", *(f"new/{name}" for name in TREE)}),
        ("/dir", "new/", {"new", *(f"new/{name}" for name in TREE)}),
        ("/dir/.", "new", {"new", *(f"new/{name}" for name in TREE)}),
        ("/dir", "dir", {"dir/dir", *(f"dir/dir/{name}" for name in TREE)}),
        ("/dir/", "dir", {"dir/dir", *(f"dir/dir/{name}" for name in TREE)}),
        ("/dir/.", "dir", set()),
        ("/to-dir", "new", {"new"}),
        ("/to-dir/", "new", {"new", *(f"new/{name}" for name in TREE)}),
        ("/to-dir/.", "new", {"new", *(f"new/{name}" for name in TREE)}),
        ("/to-dir/sub", "new", {"new", "new/two"}),
        ("/dangling", "dir", {"dir/dangling"}),
    ],
)
def test_out_of_a_container_by_docker_s_rules(
    box: Daemon, here: Path, source: str, target: str, made: set[str]
) -> None:
    before = set(find(here))
    ok(box, "cp", f"box:{source}", target)
    assert set(find(here)) - before == made
    assert (here / "to-file").is_symlink(), "a link was replaced where its target was meant"


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        ("file", "/w/new", {"new"}),
        ("file", "/w/file", set()),
        ("file", "/w/dir", {"dir/file"}),
        ("file", "/w/dir/", {"dir/file"}),
        ("file", "/w/to-dir", {"dir/file"}),
        ("file", "w/to-file", set()),
        ("file", "/w/dangling", {"nowhere"}),
        ("dir", "/w/new", {"new", *(f"new/{name}" for name in TREE)}),
        ("dir/.", "/w/new", {"new", *(f"new/{name}" for name in TREE)}),
        ("dir", "/w/dir", {"dir/dir", *(f"dir/dir/{name}" for name in TREE)}),
        ("dir/", "/w/dir", {"dir/dir", *(f"dir/dir/{name}" for name in TREE)}),
        ("dir/.", "/w/dir", {f"dir/{name}" for name in TREE}),
        ("to-dir", "/w/new", {"new"}),
        ("to-dir/", "/w/new", {"new", *(f"new/{name}" for name in TREE)}),
        ("./to-dir/sub", "/w/new", {"new", "new/two"}),
    ],
)
@pytest.mark.usefixtures("here")
def test_into_a_container_by_docker_s_rules(
    wherryd: Daemon, busybox: Path, source: str, target: str, made: set[str]
) -> None:
    script = """
        mkdir -p /w/dir; cd /w; echo old > file; ln -s /w/dir to-dir; ln -s file to-file
        ln -s nowhere dangling; echo up; sleep 1000
    """
    detached(wherryd, "--name", "box", busybox, "sh", "-c", script)
    await_line(wherryd, "box", "up")
    before = set(look(wherryd, "/w"))
    ok(wherryd, "cp", source, f"box:{target}")
    assert set(look(wherryd, "/w")) - before == made


def test_follow_link_copies_what_it_leads_to(box: Daemon, here: Path) -> None:
    ok(box, "cp", "-L", "box:/to-file", "copy")
    assert (here / "copy").read_text() == "f\n"
    ok(box, "cp", "-L", "box:/to-dir", "folder")
    assert find(here / "folder") == TREE
    ok(box, "cp", "-L", "to-dir", "box:/new")
    assert look(box, "/new") == TREE


@pytest.mark.usefixtures("here")
def test_what_cannot_be_copied_out(box: Daemon, here: Path) -> None:
    before = find(here)
    for source, target, reason in (
        ("/nothing", ".", "no such file or directory in the container"),
        ("/nothing/x", ".", "no such directory in the container"),
        ("/file/", ".", "not a directory"),
        ("/file/x", ".", "no such directory in the container"),
        ("/file", "new/", "no such directory"),
        ("/file", "no/new", "no such file or directory"),
        ("/file", "file/", "not a directory"),
        ("/dir", "file", "a directory cannot be copied onto it"),
        ("/proc/cpuinfo", ".", "use exec to read"),
        ("/proc", ".", "use exec to read"),
        ("/sys/kernel", ".", "use exec to read"),
        ("/dev/null", ".", "use exec to read"),
    ):
        assert reason in refused(box, "cp", f"box:{source}", target), (source, target)
    assert find(here) == before


@pytest.mark.usefixtures("here")
def test_what_cannot_be_copied_in(box: Daemon) -> None:
    for source, target, reason in (
        ("nothing", "/", "no such file or directory"),
        ("file/", "/", "not a directory"),
        ("file", "/new/", "no such directory"),
        ("file", "/no/new", "no such directory in the container"),
        ("file", "/file/", "not a directory"),
        ("file", "/file/x", "no such directory in the container"),
        ("dir", "/file", "a directory cannot be copied onto it"),
        ("dir", "/dir/one", "a directory cannot be copied onto it"),
        ("file", "/proc/sys/kernel/hostname", "use exec to"),
        ("file", "/dev/null", "use exec to"),
        ("file", "/dev/new", "use exec to"),
        ("/dev/null", "/tmp", "neither a file, a directory nor a symlink"),
    ):
        assert reason in refused(box, "cp", source, f"box:{target}"), (source, target)
    assert "neither path is in a container" in refused(box, "cp", "file", "file2")
    assert "two containers" in refused(box, "cp", "box:/file", "box:/file2")
    assert "no container nobody" in refused(box, "cp", "file", "nobody:/x")


def test_a_directory_is_never_replaced_by_a_file_nor_a_file_by_one(box: Daemon, here: Path) -> None:
    (here / "clash").mkdir()
    (here / "clash/one").mkdir()
    assert "cannot overwrite non-directory with directory" in refused(box, "cp", "clash/.", "box:/dir")
    (here / "clash/one").rmdir()
    (here / "clash/sub").write_text("a file")
    assert "cannot overwrite directory with non-directory" in refused(box, "cp", "clash/.", "box:/dir")
    assert set(TREE) <= set(look(box, "/dir"))


def test_owners_are_the_copier_s_unless_they_are_to_be_kept(box: Daemon, here: Path) -> None:
    ok(box, "cp", "box:/file", "plain")
    ok(box, "cp", "-a", "box:/file", "kept")
    plain, kept = (here / "plain").stat(), (here / "kept").stat()
    assert (plain.st_uid, plain.st_gid, plain.st_mode & 0o7777) == (os.geteuid(), os.getegid(), 0o755)
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o7777) == (1000, 2000, 0o6755)
    ok(box, "cp", "kept", "box:/in-plain")
    ok(box, "cp", "-a", "kept", "box:/in-kept")
    with box.popen("export", "box") as process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        found = {member.name: (member.uid, member.gid, member.mode) for member in tar}
    assert (found["in-plain"], found["in-kept"]) == ((0, 0, 0o755), (1000, 2000, 0o6755))


@pytest.mark.parametrize("running", [True, False])
def test_everything_that_a_tree_can_have_goes_in_and_out_again(
    wherryd: Daemon, busybox: Path, tmp_path: Path, running: bool
) -> None:
    """With -a nothing is lost on the way, hardlinks and holes included."""
    (tmp_path / "all").mkdir()
    treekit.make_everything(tmp_path / "all")
    detached(wherryd, "--name", "box", busybox, "sleep", "1000")
    if not running:
        ok(wherryd, "kill", "box")
        ok(wherryd, "wait", "box")
    ok(wherryd, "cp", "-a", tmp_path / "all", "box:/")
    ok(wherryd, "cp", "-a", "box:/all", tmp_path / "back")
    assert treekit.described(tmp_path / "back") == treekit.described(tmp_path / "all")
    assert (tmp_path / "back/sparse").stat().st_blocks * 512 < 4 << 20, "the holes were filled"


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_archives_through_pipes(box: Daemon, tmp_path: Path, compress: type[bytes]) -> None:
    (tmp_path / "all").mkdir()
    treekit.make_everything(tmp_path / "all")
    ok(box, "cp", "-a", tmp_path / "all", "box:/")
    with box.popen("cp", "box:/all", "-") as process:
        data, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")
    ok(box, "cp", "-", "box:/tmp", input=compress(data))
    ok(box, "cp", "-a", "box:/tmp/all", tmp_path / "back")
    assert treekit.described(tmp_path / "back") == treekit.described(tmp_path / "all")


def test_an_archive_that_is_none_or_cut(box: Daemon) -> None:
    assert "no tar archive" in refused(box, "cp", "-", "box:/tmp", input=b"hello\n" * 200)
    assert "is empty" in refused(box, "cp", "-", "box:/tmp", input=b"")
    data = archive("big", bytes(1 << 20))
    assert "truncated" in refused(box, "cp", "-", "box:/tmp", input=data[: 1 << 19])
    assert look(box, "/tmp") == [], "half a file stayed"
    assert "not a directory" in refused(box, "cp", "-", "box:/file", input=data)


@pytest.mark.parametrize("end", ["cut", "killed"])
def test_a_file_is_there_whole_or_as_it_was(box: Daemon, end: str) -> None:
    """Whoever looks while a copy is written sees what was there before; so it stays if the copy fails."""
    before = look(box, "/")
    data = archive("file", bytes(1 << 20))
    with box.popen("cp", "-", "box:/") as process:
        assert process.stdin is not None
        process.stdin.write(data[: 1 << 19])
        process.stdin.flush()
        assert (read(box, "/file"), look(box, "/")) == (b"f\n", before)
        if end == "killed":
            process.kill()
        process.stdin.close()
        process.wait(20)
    assert (read(box, "/file"), look(box, "/")) == (b"f\n", before)
    ok(box, "cp", "-", "box:/", input=data)
    assert read(box, "/file") == bytes(1 << 20)


def test_volumes_and_tmpfs_of_a_running_container(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "fixed").mkdir()
    (tmp_path / "file").write_text("text\n")
    script = "while ! cat /scratch/file 2>/dev/null; do :; done; sleep 1000"
    detached(
        wherryd, "--name", "box", "--read-only", "-v", f"{tmp_path}/volume:/data", "--tmpfs", "/scratch",
        "-v", f"{tmp_path}/fixed:/fixed:ro", busybox, "sh", "-c", script,
    )  # fmt: skip
    assert "read-only" in refused(wherryd, "cp", tmp_path / "file", "box:/x")
    assert "read-only" in refused(wherryd, "cp", tmp_path / "file", "box:/fixed")
    ok(wherryd, "cp", tmp_path / "file", "box:/data")
    assert (tmp_path / "volume/file").read_text() == "text\n"
    ok(wherryd, "cp", tmp_path / "file", "box:/scratch")
    await_line(wherryd, "box", "text")
    ok(wherryd, "kill", "box")
    ok(wherryd, "wait", "box")
    ok(wherryd, "cp", tmp_path / "file", "box:/data/again")
    assert (tmp_path / "volume/again").read_text() == "text\n", "a volume of an ended container was missed"
    assert "read-only" in refused(wherryd, "cp", tmp_path / "file", "box:/x")
    assert ok(wherryd, "diff", "box").splitlines() == ["A /data", "A /fixed", "A /scratch"]


def test_into_a_container_that_was_never_started(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("echo from a copied script\n")
    ok(wherryd, "create", "--name", "box", busybox, "sh", "/script")
    ok(wherryd, "cp", tmp_path / "script", "box:/script")
    assert ok(wherryd, "start", "-a", "box") == "from a copied script\n"


def test_what_is_mounted_by_wherry_is_written_in_place(box: Daemon, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 mine\n")
    ok(box, "cp", tmp_path / "hosts", "box:/etc/hosts")
    assert read(box, "/etc/hosts") == b"127.0.0.1 mine\n"


def test_a_folder_is_not_copied_into_itself(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "top/inner").mkdir(parents=True)
    detached(wherryd, "--name", "box", "-v", f"{tmp_path}/top/inner:/data", busybox, "sleep", "1000")
    assert "into itself" in refused(wherryd, "cp", tmp_path / "top", "box:/data")


def test_a_file_that_does_not_fit(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(2 << 20))
    detached(wherryd, "--name", "box", "--tmpfs", "/small:size=1m", busybox, "sleep", "1000")
    assert "no space left" in refused(wherryd, "cp", tmp_path / "big", "box:/small")
    assert look(wherryd, "/small") == [], "half a file stayed"


def test_names_with_colons_and_paths_from_here(box: Daemon, here: Path) -> None:
    (here / "a:b").write_text("colon")
    ok(box, "cp", "./a:b", "box:/a:b")
    assert read(box, "/a:b") == b"colon"
    ok(box, "cp", "box:a:b", "./c:d")
    assert (here / "c:d").read_text() == "colon"


def test_progress_is_for_terminals(box: Daemon, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    done = box.cli("cp", tmp_path / "big", "box:/tmp", tty=True)
    assert done.stdout.endswith("copied 67.1MB to box:/tmp\r\n"), done
    assert box.cli("cp", "-q", tmp_path / "big", "box:/tmp", tty=True).stdout == ""
    shutil.copy(tmp_path / "big", tmp_path / "copy")
    ok(box, "cp", "box:/tmp/big", tmp_path / "copy")
    assert (tmp_path / "big").read_bytes() == (tmp_path / "copy").read_bytes()
