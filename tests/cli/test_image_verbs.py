"""images, import, rmi, and everything that can stand where an image does."""

from __future__ import annotations

import bz2
import hashlib
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from clikit import empty, kept, names, ok, refused, wait_for

from wherry import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon


@pytest.fixture
def store(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor without images, before and after."""
    empty(wherryd)
    yield wherryd
    empty(wherryd)


def digest(archive: Path) -> str:
    return "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zst"])
def test_an_archive_of_every_compression_runs(
    store: Daemon, busybox_tar: Archives, tmp_path: Path, kind: str
) -> None:
    """It is known by its content: the name says nothing."""
    archive = tmp_path / "no-suffix"
    if kind == "bz2":
        archive.write_bytes(bz2.compress(busybox_tar.tar.read_bytes(), 1))
    else:
        shutil.copy(getattr(busybox_tar, kind), archive)
    assert ok(store, "run", "--rm", archive, "sh", "-c", "echo ran; id -un") == "ran\nroot\n"
    (image,) = [json.loads(line) for line in ok(store, "images", "--format", "json").splitlines()]
    assert image["Digest"] == digest(archive), "an archive is known by the sha256 of its bytes"


def test_import_gives_a_name_and_prints_the_digest(store: Daemon, busybox_tar: Archives) -> None:
    assert ok(store, "import", busybox_tar.gz, "tools").strip() == digest(busybox_tar.gz)
    assert ok(store, "run", "--rm", "tools", "echo", "hi") == "hi\n"
    assert ok(store, "run", "--rm", digest(busybox_tar.gz), "echo", "hi") == "hi\n"
    assert ok(store, "run", "--rm", digest(busybox_tar.gz)[7:19], "echo", "hi") == "hi\n"
    assert ok(store, "run", "--rm", "tools:latest", "echo", "hi") == "hi\n"


def test_import_without_a_name_takes_the_files(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.xz)
    assert ok(store, "run", "--rm", "busybox", "echo", "hi") == "hi\n"


def test_the_list_of_images(store: Daemon, busybox_tar: Archives) -> None:
    assert ok(store, "images").split() == "REPOSITORY TAG IMAGE ID CREATED SIZE".split()
    ok(store, "import", busybox_tar.tar, "one")
    ok(store, "import", busybox_tar.tar, "two:v1")
    short = digest(busybox_tar.tar)[7:19]
    rows = [re.split(r" {2,}", line) for line in ok(store, "images").splitlines()[1:]]
    assert sorted(row[:2] for row in rows) == [["one", "latest"], ["two", "v1"]]
    assert {row[2] for row in rows} == {short}
    assert re.fullmatch(r"[\d.]+MB", rows[0][4])
    assert ok(store, "images", "-q").split() == [short]
    assert ok(store, "images", "-q", "--no-trunc").split() == [digest(busybox_tar.tar)]
    assert ok(store, "images", "--format", "{{.Repository}}").split() == [row[0] for row in rows]


def test_rmi_takes_the_name_and_with_the_last_the_layer(store: Daemon, busybox_tar: Archives) -> None:
    before = kept(store)
    ok(store, "import", busybox_tar.tar, "one")
    ok(store, "import", busybox_tar.tar, "two")
    assert ok(store, "rmi", "one") == "untagged: one\n"
    assert ok(store, "run", "--rm", "two", "echo", "hi") == "hi\n"
    assert ok(store, "rmi", "two").splitlines() == ["untagged: two", f"deleted: {digest(busybox_tar.tar)}"]
    assert wait_for(lambda: kept(store) <= before), "files of a removed image stayed"
    assert "no image two" in refused(store, "run", "two", "true")


def test_an_image_in_use_stays(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.tar, "used")
    ok(store, "create", "--name", "user", "used", "echo", "alive")
    assert "used by container user" in refused(store, "rmi", "used")
    assert ok(store, "start", "-a", "user") == "alive\n"
    ok(store, "rm", "user")
    ok(store, "rmi", "used")


def test_a_new_import_moves_a_name(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.tar, "name")
    ok(store, "import", busybox_tar.gz, "name")
    rows = {
        row["Name"]: row["Digest"]
        for row in map(json.loads, ok(store, "images", "--format", "json").splitlines())
    }
    assert rows["name"] == digest(busybox_tar.gz)


def test_twenty_runs_of_a_new_archive_extract_it_once(store: Daemon, busybox_tar: Archives) -> None:
    before = store.log.count("extract")

    def run(_: int) -> int | None:
        with store.client() as client:
            spec = RunSpec(image=str(busybox_tar.zst), command=("true",), auto_remove=True)
            return client.run(spec).exit_code

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(run, range(20))) == [0] * 20
    assert len(ok(store, "images", "-q").split()) == 1
    assert store.log.count("extract") - before <= 1


def test_an_archive_is_not_changed_by_its_containers(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.tar, "shared")
    ok(store, "run", "--rm", "shared", "sh", "-c", "echo evil > /etc/passwd; rm /bin/ls")
    assert "root:x:0:0" in ok(store, "run", "--rm", "shared", "cat", "/etc/passwd")
    assert "bin" in ok(store, "run", "--rm", "shared", "ls", "/")


def test_a_long_extraction_shows_its_progress_on_a_terminal_only(
    store: Daemon, tmp_path: Path, busybox: Path
) -> None:
    big, archive = tmp_path / "big", tmp_path / "big.tar"
    shutil.copytree(busybox, big, symlinks=True)
    with (big / "filler").open("wb") as file:
        file.write(b"some words " * 9_000_000)
    shutil.make_archive(str(tmp_path / "big"), "tar", big)
    done = store.cli("run", "--rm", "-t", archive, "echo", "end", tty=True)
    assert re.search(r"\[#* *\] +\d+%", done.stdout), f"no progress bar: {done.stdout[:300]!r}"
    assert done.stdout.endswith("\r\x1b[Kend\r\r\n"), "the progress bar was not cleared"
    store.cli("rmi", "-f", digest(archive))
    assert ok(store, "run", "--rm", archive, "echo", "end") == "end\n"


def test_a_name_of_the_store_is_not_looked_for_on_the_disk(
    store: Daemon, busybox_tar: Archives, tmp_path: Path
) -> None:
    """What is in the store wins; ./name is the file."""
    assert "no image nobody" in refused(store, "run", "nobody", "true")
    ok(store, "import", busybox_tar.tar, "etc")
    assert ok(store, "run", "--rm", "etc", "echo", "store") == "store\n"


def test_import_of_what_is_no_archive(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n" * 100)
    assert "directory" in refused(store, "import", busybox)
    assert "no such file" in refused(store, "import", tmp_path / "nothing")
    assert "no tar archive" in refused(store, "import", tmp_path / "text")
    assert "no image name" in refused(store, "import", tmp_path / "text", "a//b")
    assert "no image name" in refused(store, "import", tmp_path / "text", "host")
    assert ok(store, "images", "-q") == ""
    assert names(store, "-a") == []


def test_rmi_of_what_is_not_there(store: Daemon, busybox_tar: Archives) -> None:
    assert "no image nobody" in refused(store, "rmi", "nobody")
    ok(store, "import", busybox_tar.tar, "here")
    done = store.cli("rmi", "nobody", "here")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert ok(store, "images", "-q") == ""
