"""`wherry inspect`: docker's field names with what is true of the container."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clikit import detached, field, inspect, ok, refused

if TYPE_CHECKING:
    from support.daemon import Daemon

NEVER = "0001-01-01T00:00:00Z"


def test_the_fields_of_a_running_container(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    flags = ["--name", "web", "-e", "A=b", "-v", f"{tmp_path}:/data:ro", "--tmpfs", "/t", "-w", "/tmp"]
    identity = detached(wherryd, *flags, busybox, "sleep", "1000")
    document = inspect(wherryd, "web")
    assert (document["Id"], document["Name"]) == (identity, "/web")
    assert (document["Path"], document["Args"]) == ("sleep", ["1000"])
    assert document["Image"] == str(busybox)
    assert Path(document["LogPath"]).is_file()
    assert "A=b" in document["Config"]["Env"]
    assert document["Config"]["Cmd"] == ["sleep", "1000"]
    assert document["Config"]["WorkingDir"] == "/tmp"
    assert document["HostConfig"]["Memory"] == 0
    assert document["HostConfig"]["Binds"] == [f"{tmp_path}:/data:ro"]
    assert list(document["NetworkSettings"]["Networks"]) == ["none"]
    bind, tmpfs = document["Mounts"]
    assert (bind["Type"], bind["Source"], bind["Destination"], bind["RW"]) == (
        "bind", str(tmp_path), "/data", False,
    )  # fmt: skip
    assert (tmpfs["Type"], tmpfs["Destination"]) == ("tmpfs", "/t")


def test_the_state_tells_the_truth(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "web", busybox, "sleep", "1000")
    state = inspect(wherryd, "web")["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["ExitCode"]) == (
        "running",
        True,
        False,
        0,
    )
    assert Path(f"/proc/{state['Pid']}/comm").read_text() == "sleep\n", "Pid is not the container's"
    assert state["FinishedAt"] == NEVER
    ok(wherryd, "kill", "web")
    ok(wherryd, "wait", "web")
    state = inspect(wherryd, "web")["State"]
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"]) == ("exited", False, 0, 137)
    assert state["OOMKilled"] in {False, None}, "a killed container was taken for out of memory"
    started, finished = (datetime.fromisoformat(state[name]) for name in ("StartedAt", "FinishedAt"))
    assert started < finished
    assert started.tzinfo is not None


def test_a_created_container_has_no_times_yet(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "made", busybox, "true")
    state = inspect(wherryd, "made")["State"]
    assert (state["Status"], state["StartedAt"], state["FinishedAt"]) == ("created", NEVER, NEVER)


def test_the_output_is_an_array_of_all(wherryd: Daemon, busybox: Path) -> None:
    for name in ("a", "b"):
        ok(wherryd, "create", "--name", name, busybox, "true")
    assert [each["Name"] for each in json.loads(ok(wherryd, "inspect", "a", "b"))] == ["/a", "/b"]


def test_templates(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--name", "t", "--label", "my-label=x", busybox, "sh", "-c", "exit 4")
    assert done.exit_code == 4
    assert field(wherryd, "t", "State.ExitCode") == "4"
    assert field(wherryd, "t", "State.Running") == "false"
    assert ok(wherryd, "inspect", "-f", "{{.Name}}: {{.State.Status}}!", "t") == "/t: exited!\n"
    assert json.loads(ok(wherryd, "inspect", "--format", "{{json .State}}", "t"))["ExitCode"] == 4
    assert json.loads(ok(wherryd, "inspect", "--format", "{{json .Config.Cmd}}", "t")) == [
        "sh",
        "-c",
        "exit 4",
    ]
    assert field(wherryd, "t", "Config.Labels.my-label") == "x"
    (document,) = json.loads(ok(wherryd, "inspect", "--format", "json", "t"))
    assert document["Name"] == "/t"


def test_what_a_template_may_not(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "t", busybox, "true")
    for template in ("{{.Nope}}", "{{.State.Nope}}", "{{", "{{if .State}}x{{end}}", "{{.State.Status.X}}"):
        assert "--format" in refused(wherryd, "inspect", "--format", template, "t"), template


def test_one_of_two_is_missing(wherryd: Daemon, busybox: Path) -> None:
    """What is there is shown, what is not is told, and the code says so."""
    ok(wherryd, "create", "--name", "a", busybox, "true")
    done = wherryd.cli("inspect", "a", "nobody")
    assert [each["Name"] for each in json.loads(done.stdout)] == ["/a"]
    assert done.exit_code != 0
    assert done.stderr.count("\n") == 1
