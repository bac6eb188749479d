"""commit to a name: an image of the one below and one layer, which runs as the container did."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from clikit import await_line, detached, empty, inspect, kept, ok, refused, running, wait_for
from support import treekit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon

CHANGES = """
    cd /all; rm plain; echo more >> owned; rm -r closed; mkdir closed; echo x > closed/new; rm -r sticky
    echo file > sticky; rm setuid; mkdir setuid; ln linked third; mkfifo pipe; ln -s nowhere link; chmod 711 .
    echo up; sleep 1000
"""


@pytest.fixture
def store(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor without images, before and after."""
    empty(wherryd)
    yield wherryd
    empty(wherryd)


@pytest.fixture
def everything(busybox: Path, tmp_path: Path) -> Path:
    """An archive of busybox and a folder /all of all that a tree can have."""
    folder = tmp_path / "made"
    subprocess.run(["cp", "-a", busybox, folder], check=True)
    (folder / "all").mkdir()
    treekit.make_everything(folder / "all")
    archive = tmp_path / "made.tar"
    options = ["--xattrs", "--xattrs-include=*", "--sparse", "--format=posix"]
    subprocess.run(["tar", *options, "-cf", archive, "-C", folder, "."], check=True)
    return archive


def tree(daemon: Daemon, reference: str, where: Path) -> dict[str, tuple[object, ...]]:
    """Return what a container's /all is, by way of an export."""
    archive = where.with_suffix(".tar")
    ok(daemon, "export", "-o", archive, reference)
    where.mkdir()
    command = ["tar", "-xpf", archive, "-C", where, "--xattrs", "--xattrs-include=*", "--numeric-owner"]
    subprocess.run(command, check=True)
    return treekit.described(where / "all")


def test_a_committed_container_runs_with_the_same_tree(
    store: Daemon, everything: Path, tmp_path: Path
) -> None:
    """File by file: owner, mode, time, attributes, links; and what was deleted stays deleted."""
    ok(store, "import", everything, "base")
    detached(store, "--name", "first", "base", "sh", "-c", CHANGES)
    await_line(store, "first", "up")
    digest = ok(store, "commit", "first", "kept:1").strip()
    assert digest.startswith("sha256:")
    detached(store, "--name", "second", "kept:1", "sleep", "1000")
    assert tree(store, "second", tmp_path / "second") == tree(store, "first", tmp_path / "first")
    assert ok(store, "diff", "second") == ""
    assert len(inspect(store, "kept:1")["RootFS"]["Layers"]) == 2


def test_an_image_of_an_ended_container_and_a_second_one_on_top(store: Daemon, everything: Path) -> None:
    ok(store, "import", everything, "base")
    ok(store, "run", "--name", "one", "base", "sh", "-c", "echo 1 > /one; rm /all/empty")
    ok(store, "commit", "one", "one")
    ok(store, "run", "--name", "two", "one", "sh", "-c", "echo 2 > /two; rm /one")
    ok(store, "commit", "two", "image-of-two")
    assert (
        ok(store, "run", "--rm", "image-of-two", "sh", "-c", "ls -d /one /two /all/empty 2>/dev/null; true")
        == "/two\n"
    )
    assert len(inspect(store, "image-of-two")["RootFS"]["Layers"]) == 3


def test_a_container_of_a_directory_becomes_one_layer(store: Daemon, busybox: Path) -> None:
    ok(store, "run", "--name", "one", busybox, "sh", "-c", "echo 1 > /one")
    ok(store, "commit", "one", "team/flat:v2")
    assert ok(store, "run", "--rm", "team/flat:v2", "cat", "/one") == "1\n"
    assert len(inspect(store, "team/flat:v2")["RootFS"]["Layers"]) == 1


def test_the_image_runs_what_the_container_ran(store: Daemon, busybox_tar: Archives) -> None:
    """As docker: command, environment, directory, user and labels are in its config; changes win."""
    ok(store, "import", busybox_tar.tar, "base")
    options = ["-e", "A=1", "-w", "/tmp", "-u", "user", "--label", "k=v"]
    ok(store, "run", "--name", "one", *options, "base", "sh", "-c", "echo $A; pwd; id -un")
    ok(store, "commit", "-m", "why", "-a", "me", "one", "kept")
    assert ok(store, "run", "--rm", "kept") == "1\n/tmp\nuser\n"
    found = inspect(store, "kept")["Config"]
    assert found["Labels"] == {"k": "v"}
    assert "why" in ok(store, "history", "kept")
    change = [
        "-c",
        'CMD ["echo", "changed"]',
        "-c",
        'ENV B="two words" C=3',
        "-c",
        "EXPOSE 80",
        "-c",
        "LABEL l m",
    ]
    ok(store, "commit", *change, "one", "other")
    assert ok(store, "run", "--rm", "other") == "changed\n"
    assert ok(store, "run", "--rm", "other", "sh", "-c", "echo $A $B $C") == "1 two words 3\n"
    found = inspect(store, "other")["Config"]
    assert (found["ExposedPorts"], found["Labels"]) == ({"80/tcp": {}}, {"k": "v", "l": "m"})


def test_a_commit_that_cannot_be_leaves_nothing(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.tar, "base")
    ok(store, "create", "--name", "one", "base", "true")
    before = kept(store)
    assert "is no image name" in refused(store, "commit", "one", "host")
    assert "there is no instruction 'FROM'" in refused(store, "commit", "-c", "FROM x", "one", "name")
    assert "list of strings" in refused(store, "commit", "-c", "CMD [1]", "one", "name")
    assert "a file's name ends in" in refused(store, "commit", "one", "./here")
    assert "-c are for an image" in refused(store, "commit", "-c", "USER x", "one", "here.tar")
    assert "no container nobody" in refused(store, "commit", "nobody", "name")
    assert wait_for(lambda: {path for path in kept(store) - before if "/containers/" not in path} == set())
    assert [
        row["Repository"] for row in map(json.loads, ok(store, "images", "--format", "json").splitlines())
    ] == ["base"]


def test_a_client_killed_in_the_middle_leaves_no_image(store: Daemon, busybox_tar: Archives) -> None:
    ok(store, "import", busybox_tar.tar, "base")
    identity = detached(
        store, "--name", "big", "base", "sh", "-c",
        "dd if=/dev/urandom of=/big bs=1M count=200 2>/dev/null; echo up; sleep 1000",
    )  # fmt: skip
    await_line(store, "big", "up")
    frozen = store.cgroup / identity / "cgroup.events"
    before = kept(store)
    with running(store, "commit", "big", "half"):
        assert wait_for(lambda: "frozen 1" in frozen.read_text())
    assert wait_for(lambda: "frozen 0" in frozen.read_text()), "it stays frozen"
    assert wait_for(lambda: kept(store) <= before), "half an image stayed"
    assert "no image half" in refused(store, "rmi", "half")


def test_many_commits_of_one_container_at_once(store: Daemon, busybox_tar: Archives) -> None:
    """Each is whole, they share the layer, and the container runs on afterwards."""
    ok(store, "import", busybox_tar.tar, "base")
    identity = detached(store, "--name", "one", "base", "sh", "-c", "echo 1 > /one; echo up; sleep 1000")
    await_line(store, "one", "up")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: ok(store, "commit", "one", f"copy:{number}"), range(8)))
    for number in range(8):
        assert ok(store, "run", "--rm", f"copy:{number}", "cat", "/one") == "1\n"
    assert "frozen 0" in (store.cgroup / identity / "cgroup.events").read_text()
