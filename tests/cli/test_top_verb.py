"""`wherry top`: every process of the container, as the host's kernel has it, whatever the image holds."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from clikit import await_line, detached, field, ok, refused, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def rows(daemon: Daemon, reference: str, *args: str) -> list[dict[str, Any]]:
    """Return what `top --format json` prints."""
    return [json.loads(line) for line in ok(daemon, "top", "--format", "json", *args, reference).splitlines()]


def test_every_process_with_both_ids_and_the_containers_names(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sh", "-c", "sleep 1000 & exec sleep 2000")
    ok(wherryd, "exec", "-d", "-u", "user", "c", "sleep", "3000")
    expected = [["sleep", str(number)] for number in (2000, 1000, 3000)]  # each a moment after it was forked
    assert wait_for(
        lambda: (
            [(row["command"], row["state"]) for row in rows(wherryd, "c", "-o", "command,state")]
            == [(command, "S") for command in expected]
        )
    )
    first, second, third = rows(wherryd, "c", "-o", "pid,cpid,ppid,user,uid,state,command,threads,tty")
    assert first["pid"] == int(field(wherryd, "c", "State.Pid"))
    assert (first["cpid"], first["user"], first["command"]) == (1, "root", ["sleep", "2000"])
    assert (second["ppid"], second["command"]) == (first["pid"], ["sleep", "1000"])
    assert (third["user"], third["uid"], third["command"]) == ("user", 1000, ["sleep", "3000"])
    assert {row["state"] for row in (first, second, third)} == {"S"}
    assert os.path.exists(f"/proc/{third['pid']}"), "not the host's ids"


def test_the_table_has_the_columns_that_were_asked_for(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sleep", "1000")
    heading, line = ok(wherryd, "top", "c").splitlines()
    assert heading.split() == ["PID", "CPID", "USER", "CPU", "RSS", "START", "STATE", "COMMAND"]
    assert line.endswith("sleep 1000")
    assert ok(wherryd, "top", "-o", "CPID,comm", "c").split() == ["CPID", "COMM", "1", "sleep"]
    assert "no field 'size'" in refused(wherryd, "top", "-o", "pid,size", "c")


def test_cpu_and_memory_are_those_of_the_process(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sh", "-c", "while :; do :; done")
    (row,) = rows(wherryd, "c", "-o", "cpu,time,rss,vsz")
    assert wait_for(lambda: rows(wherryd, "c", "-o", "time")[0]["time"] > 0.1)
    (row,) = rows(wherryd, "c", "-o", "cpu,time,rss,vsz")
    assert 1 < row["cpu"] <= 101, "a processor, or what others leave of one"
    assert 100_000 < row["rss"] <= row["vsz"]


def test_a_paused_one_is_shown_and_what_does_not_run_is_refused(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sleep", "1000")
    ok(wherryd, "pause", "c")
    assert len(rows(wherryd, "c")) == 1
    ok(wherryd, "unpause", "c")
    ok(wherryd, "stop", "-t", "0", "c")
    assert "not running" in refused(wherryd, "top", "c")
    assert "no container" in refused(wherryd, "top", "missing")


@pytest.mark.parametrize(
    "passwd",
    [
        "rm /etc/passwd; mkfifo /etc/passwd",
        "rm /etc/passwd; ln -s /proc/1/root/etc/shadow /etc/passwd",
        "rm /etc/passwd; ln -s ../../../../../../etc/hostname /etc/passwd",
        "rm /etc/passwd; mkdir /etc/passwd",
        "rm -r /etc; ln -s / /etc",
        "truncate -s 1G /etc/passwd",
        "printf 'a\\nb:c\\n:x:0:\\nd:x:no\\ne:x:99999999999999999999:0' > /etc/passwd",
    ],
)
def test_what_the_container_makes_of_its_users_file_harms_nobody(
    wherryd: Daemon, busybox: Path, tmp_path: Path, passwd: str
) -> None:
    image = tmp_path / "image"
    shutil.copytree(busybox, image, symlinks=True)
    detached(wherryd, "--name", "c", image, "sh", "-c", f"{passwd}; echo ready; exec sleep 1000")
    await_line(wherryd, "c", "ready")
    (row,) = rows(wherryd, "c", "-o", "user")
    assert row["user"] == "0", "a name out of what is no users file"


def test_a_link_in_the_container_is_followed_within_its_root(wherryd: Daemon, busybox: Path) -> None:
    users = "echo inside:x:0:0::/: > /users; rm /etc/passwd; ln -s ../../../users /etc/passwd"
    script = f"{users}; echo ready; exec cat"
    detached(wherryd, "-i", "--name", "c", busybox, "sh", "-c", script)
    await_line(wherryd, "c", "ready")
    assert rows(wherryd, "c", "-o", "user") == [{"user": "inside"}]


def test_names_and_arguments_cannot_command_our_terminal(wherryd: Daemon, busybox: Path) -> None:
    script = "printf 'e\\033[31m:x:0:0::/:\\n' > /etc/passwd; echo ready; exec sleep $(printf '1000\\033[2J')"
    detached(
        wherryd,
        "--name",
        "c",
        busybox,
        "sh",
        "-c",
        script.replace("exec sleep", "exec sh -c 'sleep 1000; :'"),
    )
    await_line(wherryd, "c", "ready")
    assert wait_for(lambda: "sleep" in ok(wherryd, "top", "c"))
    assert "\033" not in ok(wherryd, "top", "c")
    assert "\\x1b[31m" in ok(wherryd, "top", "c")


def test_watch_redraws_until_the_container_ends(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sleep", "1000")
    with wherryd.terminal("top", "--watch", "--interval", "0.1", "c") as terminal:
        terminal.expect("c: 1 process,")
        terminal.expect("sleep 1000")
        ok(wherryd, "exec", "-d", "c", "sleep", "2000")
        terminal.expect("c: 2 processes")
        terminal.expect("sleep 2000")
        ok(wherryd, "stop", "-t", "0", "c")
        terminal.expect("container c ended")
        assert terminal.wait() == 0


def test_ctrl_c_leaves_the_watch(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "c", busybox, "sleep", "1000")
    with wherryd.terminal("top", "-w", "c") as terminal:
        terminal.expect("sleep 1000")
        terminal.send(b"\x03")
        assert terminal.wait() == 0
