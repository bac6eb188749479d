"""update, the prunes, system df, and docker's nouns."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
from clikit import detached, inspect, names, ok, refused, wait_for

from wherry import RunSpec, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon


@pytest.fixture
def clean(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor without containers, images and volumes, before and after."""
    yield wherryd
    wherryd.remove_containers()
    with wherryd.client() as client:
        client.prune_images(all=True)
        client.prune_volumes(all=True)


def volumes(daemon: Daemon) -> list[str]:
    return ok(daemon, "volume", "ls", "-q").split()


def reclaimed(text: str) -> str:
    found = re.search(r"^Total reclaimed space: (\S+)$", text, re.MULTILINE)
    assert found, text
    return found[1]


# -- update -------------------------------------------------------------------------------------------------


def test_update_changes_labels_and_how_it_is_stopped(clean: Daemon, busybox: Path) -> None:
    script = "trap 'exit 7' INT; trap '' TERM; echo ready; while :; do sleep 0.05; done"
    detached(clean, "--name", "web", "--label", "a=1", "--label", "b=2", busybox, "sh", "-c", script)
    assert ok(clean, "update", "--label", "a=new", "--label", "c", "--label-rm", "b", "web") == "web\n"
    assert inspect(clean, "web")["Config"]["Labels"] == {"a": "new", "c": ""}
    assert names(clean, "-f", "label=a=new") == ["web"]
    ok(clean, "update", "--stop-signal", "INT", "--stop-timeout", "30", "web")
    config = inspect(clean, "web")["Config"]
    assert (config["StopSignal"], config["StopTimeout"]) == ("SIGINT", 30)
    assert wait_for(lambda: "ready" in ok(clean, "logs", "web"))
    ok(clean, "stop", "web")
    assert inspect(clean, "web")["State"]["ExitCode"] == 7, "the new stop signal was not sent"


def test_update_refuses_bad_words_and_changes_nothing(clean: Daemon, busybox: Path) -> None:
    ok(clean, "create", "--name", "web", "--label", "a=1", busybox, "true")
    before = inspect(clean, "web")
    assert "nothing to change" in refused(clean, "update", "web")
    assert "signal" in refused(clean, "update", "--label", "x=1", "--stop-signal", "NOPE", "web")
    assert "timeout" in refused(clean, "update", "--label", "x=1", "--stop-timeout", "nan", "web")
    assert "expected KEY=VALUE" in refused(clean, "update", "--label", "=x", "web")
    assert "no container nobody" in refused(clean, "update", "--label", "x", "nobody")
    assert inspect(clean, "web") == before


def test_an_update_survives_a_killed_supervisor(fresh_wherryd: Daemon, busybox: Path) -> None:
    daemon = fresh_wherryd
    detached(daemon, "--name", "web", busybox, "sleep", "60")
    ok(daemon, "update", "--label", "x=y", "--stop-timeout", "1.5", "web")
    daemon.kill()
    daemon.start()
    config = inspect(daemon, "web")["Config"]
    assert (config["Labels"], config["StopTimeout"]) == ({"x": "y"}, 1.5)


# -- prune --------------------------------------------------------------------------------------------------


def test_container_prune_takes_what_does_not_run(clean: Daemon, busybox: Path) -> None:
    detached(clean, "--name", "living", busybox, "sleep", "60")
    ok(clean, "create", "--name", "fresh", busybox, "true")
    clean.cli("run", "--name", "over", busybox, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=3")
    ids = {inspect(clean, name)["Id"] for name in ("fresh", "over")}
    printed = ok(clean, "container", "prune", "-f")
    title, *lines = printed.splitlines()
    assert title == "Deleted Containers:"
    assert set(lines[:2]) == ids
    assert re.fullmatch(r"3\.\d+MB", reclaimed(printed))
    assert names(clean, "-a") == ["living"]
    assert ok(clean, "container", "prune", "-f") == "Total reclaimed space: 0B\n"


def test_filters_of_prune(clean: Daemon, busybox: Path) -> None:
    for name, label in (("one", "keep=yes"), ("two", "keep=no"), ("three", "other")):
        ok(clean, "create", "--name", name, "--label", label, busybox, "true")
    ok(clean, "container", "prune", "-f", "--filter", "until=1h")
    ok(clean, "container", "prune", "-f", "--filter", "label=nothing")
    assert len(names(clean, "-a")) == 3
    ok(clean, "container", "prune", "-f", "--filter", "label!=keep")
    assert sorted(names(clean, "-a")) == ["one", "two"]
    ok(clean, "container", "prune", "-f", "--filter", "label=keep=no", "--filter", f"until={time.time() + 9}")
    assert names(clean, "-a") == ["one"]
    for text, because in (
        ("until=soon", "is no time"),
        ("colour=red", "'colour' is unknown"),
        ("label", "expected KEY=VALUE"),
    ):
        assert because in refused(clean, "container", "prune", "-f", "--filter", text)
    assert names(clean, "-a") == ["one"]


def test_prune_asks_on_a_terminal_and_only_there(clean: Daemon, busybox: Path) -> None:
    ok(clean, "create", "--name", "one", busybox, "true")
    assert "--force" in refused(clean, "container", "prune")
    for answer in ("n\n", "\n", "\x04"):
        with clean.terminal("container", "prune") as terminal:
            terminal.expect("all containers that do not run")
            terminal.expect("[y/N] ")
            terminal.send(answer)
            assert terminal.wait() == 1
    assert names(clean, "-a") == ["one"]
    with clean.terminal("system", "prune", "--volumes", "-a", "--filter", "until=0s") as terminal:
        terminal.expect("nameless volumes")
        terminal.expect("all images that no container uses")
        terminal.expect("only those with: until=0s")
        terminal.expect("[y/N] ")
        terminal.send("y\n")
        terminal.expect("Deleted Containers:")
        assert terminal.wait() == 0
    assert names(clean, "-a") == []


def test_volume_prune_takes_nameless_ones_and_with_all_every_unused(clean: Daemon, busybox: Path) -> None:
    ok(clean, "create", "--name", "user", "-v", "used:/u", "-v", "/anon", busybox, "true")
    ok(clean, "volume", "create", "unused")
    nameless = ok(clean, "volume", "create").strip()
    (clean.state_dir / "volumes" / nameless / "_data/big").write_bytes(bytes(2_000_000))
    before = set(volumes(clean))
    printed = ok(clean, "volume", "prune", "-f")
    assert printed.splitlines()[:2] == ["Deleted Volumes:", nameless]
    assert reclaimed(printed) == "2.01MB"
    assert set(volumes(clean)) == before - {nameless}
    assert ok(clean, "volume", "prune", "-f", "-a").splitlines()[1] == "unused"
    assert set(volumes(clean)) == before - {nameless, "unused"}
    ok(clean, "rm", "user")
    ok(clean, "volume", "prune", "-fa")
    assert volumes(clean) == []


def test_image_prune_leaves_what_is_named_or_used(clean: Daemon, busybox_tar: Archives) -> None:
    ok(clean, "import", busybox_tar.tar, "named")
    ok(clean, "run", "--rm", busybox_tar.gz, "true")
    ok(clean, "create", "--name", "user", busybox_tar.xz, "true")
    assert len(ok(clean, "images", "-q").split()) == 3
    printed = ok(clean, "image", "prune", "-f")
    assert printed.startswith("Deleted Images:\n")
    assert reclaimed(printed) == "0B", "the others have the same layer, compressed otherwise"
    assert len(ok(clean, "images", "-q").split()) == 2
    ok(clean, "image", "prune", "-fa")
    assert len(ok(clean, "images", "-q").split()) == 1, "an image that a container uses is gone"
    assert ok(clean, "start", "-a", "user") == ""
    ok(clean, "rm", "user")
    assert re.fullmatch(r"\d\.\d+MB", reclaimed(ok(clean, "image", "prune", "-fa")))


def test_system_prune_takes_all_kinds(clean: Daemon, busybox_tar: Archives) -> None:
    ok(clean, "run", "--name", "over", "-v", "/anon", "-v", "named:/n", busybox_tar.tar, "true")
    printed = ok(clean, "system", "prune", "-f", "--volumes")
    assert [line for line in printed.splitlines() if line.endswith(":")] == [
        "Deleted Containers:", "Deleted Volumes:", "Deleted Images:",
    ]  # fmt: skip
    assert (names(clean, "-a"), volumes(clean), ok(clean, "images", "-q")) == ([], ["named"], "")


def test_prune_against_runs_harms_no_run(clean: Daemon, busybox: Path) -> None:
    """A container that is just being made, and its volumes, are no prey."""
    volume = Volume(source="", target="/data")
    spec = RunSpec(image=str(busybox), command=("ls", "-d", "/data"), volumes=(volume,), auto_remove=True)
    done = threading.Event()
    failed: list[BaseException] = []

    def prune() -> None:
        try:
            with clean.client() as client:
                while not done.is_set():
                    client.prune_volumes(all=True)
                    client.prune_containers()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        with clean.client() as client:
            for _ in range(50):
                assert client.run(spec).stdout == b"/data\n"
    finally:
        done.set()
        pruner.join()
    assert failed == []
    assert volumes(clean) == []


# -- df -----------------------------------------------------------------------------------------------------


def test_df_counts_and_sums(clean: Daemon, busybox_tar: Archives) -> None:
    ok(clean, "import", busybox_tar.tar, "app")
    script = "dd if=/dev/zero of=/big bs=1M count=4; dd if=/dev/zero of=/data/big bs=1M count=2"
    clean.cli("run", "--name", "over", "-v", "data:/data", "app", "sh", "-c", script)
    detached(clean, "--name", "living", "host", "sleep", "60")
    ok(clean, "volume", "create", "idle")
    lines = ok(clean, "system", "df", "--format", "json").splitlines()
    rows = {row["Type"]: row for row in map(json.loads, lines)}
    images, containers, local = rows["Images"], rows["Containers"], rows["Local Volumes"]
    assert (images["TotalCount"], images["Active"], images["Reclaimable"]) == ("1", "1", "0B (0%)")
    assert (containers["TotalCount"], containers["Active"]) == ("2", "1")
    assert re.fullmatch(r"4\.\d+MB", containers["Size"])
    assert re.fullmatch(r"4\.\d+MB \(\d+%\)", containers["Reclaimable"])
    assert (local["TotalCount"], local["Active"], local["Size"]) == ("2", "1", "2.11MB")
    assert ok(clean, "system", "df").split()[:5] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert ok(clean, "system", "df", "--format", "{{.Type}}").splitlines()[2] == "Local Volumes"


def test_df_in_detail(clean: Daemon, busybox_tar: Archives) -> None:
    ok(clean, "import", busybox_tar.tar, "app")
    ok(clean, "create", "--name", "one", "-v", "data:/data", "app", "true")
    document = json.loads(ok(clean, "system", "df", "-v", "--format", "json"))
    assert [(each["Name"], each["Containers"]) for each in document["Images"]] == [("app", 1)]
    (container,) = document["Containers"]
    assert (container["Names"], container["LocalVolumes"]) == ("one", 1)
    assert [(each["Name"], each["Links"]) for each in document["Volumes"]] == [("data", 1)]
    printed = ok(clean, "system", "df", "-v")
    for kind in ("Images", "Containers", "Local Volumes"):
        assert f"{kind} space usage:" in printed
    refused(clean, "system", "df", "-v", "--format", "{{.Type}}")


def test_requests_are_answered_while_many_files_are_counted(clean: Daemon, busybox: Path) -> None:
    """Counting is another process's work."""
    data = clean.state_dir / "volumes" / ok(clean, "volume", "create", "many").strip() / "_data"
    for folder in range(20):
        (data / str(folder)).mkdir()
        for number in range(500):
            os.close(os.open(data / str(folder) / str(number), os.O_CREAT, 0o600))
    parts: list[float] = []
    while not parts or (min(parts) > HALF and len(parts) < TRIES):  # others may have the processor
        took: list[float] = []
        counting = threading.Thread(target=_count, args=(clean, took))
        counting.start()
        slowest = 0.0
        with clean.client() as client:
            while counting.is_alive():
                before = time.monotonic()
                client.ping()
                slowest = max(slowest, time.monotonic() - before)
        parts.append(slowest / took[0])
    assert min(parts) <= HALF, f"a ping took so much of the time that counting takes: {parts}"


HALF, TRIES = 0.5, 5


def _count(daemon: Daemon, took: list[float]) -> None:
    with daemon.client() as client:
        began = time.monotonic()
        client.disk_usage()
        took.append(time.monotonic() - began)


# -- nouns --------------------------------------------------------------------------------------------------


def test_nouns_are_the_verbs_in_dockers_other_words(clean: Daemon, busybox: Path) -> None:
    made = ok(clean, "container", "create", "--name", "web", busybox, "echo", "hi").strip()
    assert ok(clean, "container", "ls", "-aq") == ok(clean, "ps", "-aq")
    assert ok(clean, "container", "start", "-a", "web") == "hi\n"
    assert json.loads(ok(clean, "container", "inspect", "web"))[0]["Id"] == made
    assert ok(clean, "container", "run", "--rm", busybox, "echo", "-n", "x") == "x"
    assert ok(clean, "image", "ls") == ok(clean, "images")
    assert json.loads(ok(clean, "system", "info", "--format", "json"))["Pid"] == clean.pid
    ok(clean, "container", "rm", "web")


def test_a_noun_helps(clean: Daemon) -> None:
    for noun in ("container", "image", "system", "volume"):
        text = ok(clean, noun, "--help")
        assert "prune " in text
        assert f"See 'wherry {noun} COMMAND --help'" in text
        assert ok(clean, "help", noun) == text
        assert "a command is missing" in refused(clean, noun)
        assert "no such command" in refused(clean, noun, "frob")
    assert "usage: wherry volume create " in ok(clean, "volume", "create", "--help")
