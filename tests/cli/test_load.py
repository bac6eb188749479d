"""load, tag, history, inspect of images, and running them: as a docker user would."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import await_line, detached, empty, field, inspect, kept, ok, refused, wait_for
from support.forms import SLOWNESS
from support.imagekit import Built, docker_save, folder, layer, member, oci, pack, write_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.busybox import Archives
    from support.daemon import Daemon

CONFIG = {
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["echo $GREETING from $PWD as $(id -un) with $(cat /etc/motd)"],
    "Env": ["GREETING=hello", "PATH=/bin"],
    "WorkingDir": "/srv/app",
    "User": "daemon",
    "Labels": {"team": "a", "tier": "web"},
    "StopSignal": "SIGUSR1",
    "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3_000_000_000},
}


@pytest.fixture
def store(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor without images, before and after."""
    empty(wherryd)
    yield wherryd
    empty(wherryd)


@pytest.fixture
def demo(busybox_tar: Archives) -> Built:
    """busybox below, a layer that changes it above."""
    top = layer(
        folder("etc"), member("etc/motd", b"layers"),
        member("etc/passwd", b"root:x:0:0::/:\ndaemon:x:2:2::/:\n"),
        member("bin/.wh.ls"), folder("new"), member("new/file", b"x"),
    )  # fmt: skip
    return Built([busybox_tar.tar.read_bytes(), top], CONFIG)


@pytest.fixture
def saved(demo: Built, tmp_path: Path) -> Path:
    path = tmp_path / "demo.tar"
    path.write_bytes(pack(docker_save(demo)))
    return path


def test_load_prints_names_and_the_image_runs_its_config(store: Daemon, saved: Path) -> None:
    assert ok(store, "load", "-i", saved) == "Loaded image: demo:1\n"
    assert ok(store, "run", "--rm", "demo:1") == "hello from /srv/app as daemon with layers\n"
    assert "not found" in store.cli("run", "--rm", "demo:1", "/bin/ls /").stderr, "a whiteout hides nothing"


def test_flags_win_over_the_images_config(store: Daemon, saved: Path) -> None:
    ok(store, "load", "-qi", saved)
    asked = ("-e", "GREETING=bye", "-w", "/new", "-u", "root", "--entrypoint", "/bin/sh")
    script = "echo $GREETING $PWD $(id -un)"
    assert ok(store, "run", "--rm", *asked, "demo:1", "-c", script) == "bye /new root\n"
    detached(store, "--name", "c", "--label", "tier=db", "--stop-signal", "KILL", "demo:1", "sleep 1000")
    assert field(store, "c", "Config.Labels.tier") == "db"
    assert field(store, "c", "Config.Labels.team") == "a"
    assert field(store, "c", "Config.StopSignal") == "SIGKILL"
    assert inspect(store, "c")["Config"]["ExposedPorts"] == {"80/tcp": {}}


def test_an_images_stop_signal_is_sent(store: Daemon, saved: Path) -> None:
    ok(store, "load", "-i", saved)
    script = "trap 'echo got it; exit 7' USR1; echo up; while :; do sleep 0.1; done"
    detached(store, "--name", "c", "demo:1", script)
    await_line(store, "c", "up")
    ok(store, "stop", "c")
    assert ok(store, "wait", "c") == "7\n"


def test_an_archive_runs_without_a_name(store: Daemon, saved: Path, demo: Built, tmp_path: Path) -> None:
    """A file and an OCI layout's directory are references, too."""
    layout = write_folder(oci(demo), tmp_path / "layout")
    for reference in (saved, layout, demo.digest, demo.digest[7:19]):
        assert ok(store, "run", "--rm", reference).startswith("hello from")
    assert len(ok(store, "images", "-q").split()) == 1


def test_load_from_standard_input(store: Daemon, saved: Path) -> None:
    """A pipe, a compressed pipe; a terminal is refused."""
    assert store.cli("load", input=saved.read_bytes()).stdout == "Loaded image: demo:1\n"
    ok(store, "rmi", "demo:1")
    packed = subprocess.run(["gzip", "-1c", saved], check=True, capture_output=True).stdout
    assert store.cli("load", input=packed).stdout == "Loaded image: demo:1\n"
    assert ok(store, "run", "--rm", "demo:1").startswith("hello")
    assert "standard input is a terminal" in store.cli("load", tty=True).stdout


def test_tag_and_rmi_go_by_docker_rules(store: Daemon, saved: Path, demo: Built) -> None:
    """A name is taken from whoever has it; the image goes with its last name."""
    ok(store, "load", "-i", saved)
    ok(store, "tag", "demo:1", "registry.example:5000/team/app:v2")
    ok(store, "tag", demo.digest[7:19], "docker.io/library/app")
    rows = [re.split(r" {2,}", line)[:2] for line in ok(store, "images").splitlines()[1:]]
    assert sorted(rows) == [["app", "latest"], ["demo", "1"], ["registry.example:5000/team/app", "v2"]]
    assert ok(store, "images", "-q", "registry.example:5000/team/*") == ok(store, "images", "-q", "app")
    assert ok(store, "images", "-q", "--filter", "label=team=b") == ""
    assert ok(store, "run", "--rm", "registry.example:5000/team/app:v2").startswith("hello")
    assert ok(store, "run", "--rm", "docker.io/library/app:latest").startswith("hello")
    assert "no image nothing" in refused(store, "tag", "nothing", "x")
    assert "no image name" in refused(store, "tag", "app", "a//b")
    before = _of_images(store)
    ok(store, "rmi", "app", "demo:1")
    assert _of_images(store) == before
    assert f"deleted: {demo.digest}" in ok(store, "rmi", "registry.example:5000/team/app:v2")
    assert wait_for(lambda: not [path for path in kept(store) if "/layers/" in path])


def _of_images(daemon: Daemon) -> set[str]:
    """Return what is kept of images: of a container that is removed something may go a moment later."""
    return {path for path in kept(daemon) if "/containers/" not in path}


def test_history_and_inspect_speak_dockers_words(store: Daemon, saved: Path, demo: Built) -> None:
    ok(store, "load", "-i", saved)
    lines = [re.split(r" {2,}", line) for line in ok(store, "history", "demo:1").splitlines()]
    assert lines[0] == ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    assert [line[2] for line in lines[1:]] == ["step 1", "step 0"]
    assert [line[0] for line in lines[1:]] == [demo.digest[7:19], "<missing>"]
    (document,) = json.loads(ok(store, "inspect", "demo:1"))
    assert document == json.loads(ok(store, "inspect", "--type", "image", "demo:1"))[0]
    assert document == json.loads(ok(store, "image", "inspect", demo.digest))[0]
    assert (document["Id"], document["RepoTags"]) == (demo.digest, ["demo:1"])
    assert document["Config"] == CONFIG
    assert document["RootFS"]["Layers"] == json.loads(demo.document)["rootfs"]["diff_ids"]
    assert ok(store, "inspect", "-f", "{{.Config.User}}", "demo:1") == "daemon\n"
    assert "no container x" in refused_with_empty_list(store, "inspect", "x")
    assert "no image demo" in refused_with_empty_list(store, "inspect", "--type", "image", "demo")
    assert "no container demo" in refused_with_empty_list(store, "inspect", "--type", "container", "demo")


def refused_with_empty_list(daemon: Daemon, *args: str) -> str:
    done = daemon.cli(*args)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (125, "[]\n", 1)
    return done.stderr


def test_broken_archives_are_refused_with_one_line_and_leave_nothing(
    store: Daemon, saved: Path, demo: Built, tmp_path: Path, busybox_tar: Archives
) -> None:
    before = kept(store)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(saved.read_bytes()[:-200_000])
    assert "truncated" in refused(store, "load", "-i", cut)
    damaged = bytearray(saved.read_bytes())
    damaged[2000] ^= 1
    cut.write_bytes(damaged)
    assert "damaged" in refused(store, "load", "-i", cut)
    assert "no image" in refused(store, "load", "-i", busybox_tar.gz)
    assert "no such file" in refused(store, "load", "-i", tmp_path / "missing")
    assert "no such file" in refused(store, "run", "--rm", "./missing.tar", "true")
    assert wait_for(lambda: kept(store) <= before), "something of a broken archive stayed"
    assert ok(store, "images", "-q") == ""


def test_save_and_load_give_the_same_image(store: Daemon, saved: Path, demo: Built, tmp_path: Path) -> None:
    """Through a file, which keeps what was there when it fails, and through a pipe; never to a terminal."""
    ok(store, "load", "-i", saved)
    out = tmp_path / "out.tar"
    assert ok(store, "save", "-o", out, "demo:1") == ""
    with store.popen("save", "demo:1") as process:
        assert process.communicate()[0] == out.read_bytes()
    assert "is a terminal" in store.cli("save", "demo:1", tty=True).stdout
    before = out.read_bytes()
    assert "no image nothing" in refused(store, "save", "-o", out, "demo:1", "nothing")
    assert "a directory is there" in refused(store, "save", "-o", tmp_path, "demo:1")
    assert (out.read_bytes(), sorted(tmp_path.iterdir())) == (before, sorted([saved, out]))
    ok(store, "rmi", "demo:1")
    assert ok(store, "load", "-i", out) == "Loaded image: demo:1\n"
    assert ok(store, "images", "-q", "--no-trunc").split() == [demo.digest]
    assert ok(store, "run", "--rm", "demo:1").startswith("hello from")


def test_save_as_a_directory(store: Daemon, saved: Path, tmp_path: Path) -> None:
    """An OCI layout that is there whole or not at all, and loads again."""
    ok(store, "load", "-i", saved)
    out = tmp_path / "layout"
    ok(store, "save", "--format", "oci-dir", "-o", out, "demo:1")
    assert sorted(path.name for path in out.iterdir()) == [
        "blobs",
        "index.json",
        "manifest.json",
        "oci-layout",
    ]
    assert "it is there already" in refused(store, "save", "--format", "oci-dir", "-o", out, "demo:1")
    other = tmp_path / "other"
    assert "no image x" in refused(store, "save", "--format", "oci-dir", "-o", other, "demo:1", "x")
    assert "give -o DIRECTORY" in refused(store, "save", "--format", "oci-dir", "demo:1")
    assert sorted(tmp_path.iterdir()) == [saved, out]
    ok(store, "rmi", "demo:1")
    assert ok(store, "load", "-i", out) == "Loaded image: demo:1\n"


def test_a_killed_save_leaves_no_file(store: Daemon, tmp_path: Path, busybox_tar: Archives) -> None:
    """The archive has no name until it is whole."""
    big = Built(
        [busybox_tar.tar.read_bytes(), layer(member("big", bytes(int((256 << 20) / SLOWNESS))))], tag="big:1"
    )
    path = tmp_path / "big.tar"
    path.write_bytes(pack(oci(big)))
    ok(store, "load", "-qi", path)
    process = store.popen("save", "-o", tmp_path / "out.tar", "big:1")
    assert wait_for(lambda: writes_without_a_name(process.pid))
    process.kill()
    process.communicate()
    assert sorted(tmp_path.iterdir()) == [path]


def writes_without_a_name(pid: int) -> bool:
    """Say whether a process has a file open that has no name, with something in it."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if fd.readlink().name.endswith(" (deleted)") and fd.stat().st_size:
                return True
    return False


@pytest.mark.parametrize("count", [127, 299])
def test_a_container_sees_every_layer(
    store: Daemon, busybox_tar: Archives, tmp_path: Path, count: int
) -> None:
    """Each layer's file is there, and what a later one changed or removed is as it left it."""
    layers = [
        layer(
            member(f"d/{number}", b"x"),
            member("last", b"%d" % number),
            member(f"d/.wh.{number - 2}"),
        )
        for number in range(count)
    ]
    path = tmp_path / "deep.tar"
    path.write_bytes(pack(oci(Built([busybox_tar.tar.read_bytes(), *layers], tag="deep:1"))))
    ok(store, "load", "-qi", path)
    assert (
        ok(store, "run", "--rm", "deep:1", "sh", "-c", "ls /d; cat /last")
        == f"{count - 2}\n{count - 1}\n{count - 1}"
    )


def test_images_survive_a_restart_of_the_supervisor(store: Daemon, saved: Path, demo: Built) -> None:
    """Names, layers and configs, and what containers took from them."""
    ok(store, "load", "-i", saved)
    ok(store, "create", "--name", "c", "demo:1")
    store.terminate()
    store.start()
    assert ok(store, "images", "-q", "--no-trunc").split() == [demo.digest]
    assert ok(store, "start", "-a", "c").startswith("hello from")
    assert "used by container c" in refused(store, "rmi", "demo:1")
