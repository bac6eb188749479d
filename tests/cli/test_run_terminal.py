"""`wherry run -it` on a real terminal: what a person does there, and how the terminal is afterwards."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from clikit import PATIENCE, await_line, field, names, ok, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

CTRL_C, CTRL_D, CTRL_P, CTRL_Q, CTRL_Z = b"\x03", b"\x04", b"\x10", b"\x11", b"\x1a"


def test_the_terminal_has_the_size_of_ours_from_the_start(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--rm", "-it", busybox, "sh", "-c", "stty size; tty; echo $TERM", tty=True)
    assert done.stdout.split() == ["24", "80", "/dev/pts/0", "xterm"]


def test_a_resize_arrives_inside(wherryd: Daemon, busybox: Path) -> None:
    script = "trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 1000 & wait $!; done"
    with wherryd.terminal("run", "--rm", "-it", busybox, "sh", "-c", script) as terminal:
        terminal.expect("up\r\n")
        terminal.resize(50, 132)
        terminal.expect("50 132")
        assert terminal.wait() == 0


def test_ctrl_c_interrupts_the_command_and_not_the_shell(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("run", "--rm", "-it", "-e", "PS1=> ", busybox, "sh") as terminal:
        terminal.expect("> ")
        terminal.send("sh -c 'echo beg''un; exec sleep 1000'\n")
        terminal.expect("begun\r\n")
        terminal.send(CTRL_C)
        terminal.expect("> ")
        terminal.send("echo code $?\n")
        terminal.expect("code 130\r\n")
        terminal.send("exit 5\n")
        assert terminal.wait() == 5


def test_job_control_works(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("run", "--rm", "-it", "-e", "PS1=> ", busybox, "sh") as terminal:
        terminal.expect("> ")
        terminal.send("sh -c 'echo beg''un; exec sleep 1000'\n")
        terminal.expect("begun\r\n")
        terminal.send(CTRL_Z)
        terminal.expect("Stopped")
        terminal.send("jobs; bg; kill %1; wait %1; echo code $?\n")
        terminal.expect("code 143\r\n")
        assert "can't access tty" not in terminal.text
        terminal.expect("> ")
        terminal.send("(exit 6)\n")
        terminal.expect("> ")  # before that the terminal would take it for itself
        terminal.send(CTRL_D)
        assert terminal.wait() == 6, "ctrl-d did not end the shell"


def test_the_container_sees_keys_as_they_are(wherryd: Daemon, busybox: Path) -> None:
    """Our terminal is raw: what it would obey goes in."""
    script = "stty raw -echo; echo up; dd bs=1 count=4 2>/dev/null | od -An -tx1"
    with wherryd.terminal("run", "--rm", "-it", busybox, "sh", "-c", script) as terminal:
        terminal.expect("up\n")
        terminal.send(b"\x03\x1a\x10a")
        terminal.expect("03 1a 10 61")
        assert terminal.wait() == 0


def test_ctrl_p_ctrl_q_leaves_it_running(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("run", "--name", "left", "-it", "-e", "PS1=> ", busybox, "sh") as terminal:
        before = terminal.before
        terminal.expect("> ")
        terminal.send(CTRL_P + CTRL_Q)
        terminal.expect("left runs on\r\n")
        assert terminal.wait() == 0
        assert terminal.attributes() == before, "the terminal was left raw"
    assert field(wherryd, "left", "State.Status") == "running", "detaching ended the container"
    ok(wherryd, "stop", "-t", "0", "left")


def test_ctrl_p_alone_is_the_containers(wherryd: Daemon, busybox: Path) -> None:
    """It waits for the key after it, and then both go in; also when they come one by one."""
    script = "stty -icanon -echo; echo up; dd bs=1 count=3 2>/dev/null | od -An -tx1"
    with wherryd.terminal("run", "--rm", "-it", busybox, "sh", "-c", script) as terminal:
        terminal.expect("up\r\n")
        terminal.send(CTRL_P)
        terminal.send(b"xy")
        terminal.expect("10 78 79")
        assert terminal.wait() == 0


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 -1; kill -TERM $$; exit 3"])
def test_the_terminal_is_restored_after_the_end(wherryd: Daemon, busybox: Path, ending: str) -> None:
    with wherryd.terminal("run", "--rm", "-it", busybox, "sh", "-c", f"stty raw; {ending}") as terminal:
        before = terminal.before
        assert terminal.wait() == 3
        assert terminal.attributes() == before, "the terminal was left raw"


def test_the_terminal_is_restored_after_a_failed_start(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("run", "--rm", "-it", busybox, "missing") as terminal:
        before = terminal.before
        assert terminal.wait() == 127
        assert terminal.attributes() == before
        assert terminal.text.count("\n") == 1, f"not one line: {terminal.text!r}"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_terminal_is_restored_when_the_command_is_ended(
    wherryd: Daemon, busybox: Path, name: str
) -> None:
    with wherryd.terminal("run", "--name", "on", "-it", busybox, "sh", "-c", "echo up; exec cat") as terminal:
        before = terminal.before
        terminal.expect("up")
        terminal.process.send_signal(signal.Signals[name])
        assert terminal.wait() == 128 + signal.Signals[name]
        assert terminal.attributes() == before, f"{name} left the terminal raw"
    assert field(wherryd, "on", "State.Status") == "running"


@pytest.mark.parametrize(("patience", "code"), [("0", 125), ("60", 0)])
def test_the_terminal_is_restored_when_the_supervisor_dies(
    fresh_wherryd: Daemon, busybox: Path, patience: str, code: int
) -> None:
    """At once, or when its user has waited enough for the next one."""
    command = ("run", "--name", "on", "-it", busybox, "sh", "-c", "echo up; exec cat")
    with fresh_wherryd.terminal(*command, env={"WHERRY_RECONNECT": patience}) as terminal:
        before = terminal.before
        terminal.expect("up")
        fresh_wherryd.kill()
        if patience == "0":
            terminal.expect("the supervisor hung up")
        else:
            terminal.expect("the supervisor is away: waiting for it, the detach keys end that")
            terminal.send("\x10\x11")
        assert terminal.wait() == code
        assert terminal.attributes() == before, "the supervisor's death left the terminal raw"
    fresh_wherryd.start()
    assert field(fresh_wherryd, "on", "State.Status") == "running"


def test_closing_the_window_leaves_the_container_running(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal(
        "run", "--name", "on", "-it", busybox, "sh", "-c", "trap '' HUP; echo up; cat; echo eof; cat"
    ) as terminal:
        terminal.expect("up")
        os.close(terminal.master)
        terminal.master = -1
        terminal.process.wait(PATIENCE)
    assert field(wherryd, "on", "State.Status") == "running", "closing the window ended the container"


def test_two_streams_come_out_of_a_terminal_as_one(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--name", "t", "-t", busybox, "sh", "-c", "echo a; echo b >&2", tty=True)
    assert (done.exit_code, done.stdout.split()) == (0, ["a", "b"])
    assert ok(wherryd, "logs", "t") == "a\r\nb\r\n"


def test_t_without_a_terminal_is_refused(wherryd: Daemon, busybox: Path) -> None:
    for flags in (["-t"], ["-it"]):
        assert "no terminal" in refused(wherryd, "run", *flags, busybox, "true")
    assert names(wherryd, "-a") == []


def test_a_detached_container_may_have_a_terminal(wherryd: Daemon, busybox: Path) -> None:
    """Nobody's terminal is needed for that."""
    ok(wherryd, "run", "-dt", "--name", "dt", busybox, "sh", "-c", "test -t 1 && echo tty; exec sleep 1000")
    await_line(wherryd, "dt", "tty\r")


def test_start_puts_a_container_with_a_terminal_into_ours(wherryd: Daemon, busybox: Path) -> None:
    ok(
        wherryd,
        "create",
        "-it",
        "--name",
        "later",
        busybox,
        "sh",
        "-c",
        "stty size; read x; echo got $x; exit 4",
    )
    with wherryd.terminal("start", "-ai", "later") as terminal:
        before = terminal.before
        terminal.resize(30, 90)
        terminal.expect("\n")
        terminal.send("word\n")
        terminal.expect("got word")
        assert terminal.wait() == 4
        assert terminal.attributes() == before
    refused(wherryd, "start", "-ai", "later")


def test_a_private_devpts(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli(
        "run", "--rm", "-it", busybox, "sh", "-c", "ls /dev/pts | tr '\\n' ' '; ls -l /dev/console", tty=True
    )
    assert done.stdout.startswith("0 ptmx "), "another terminal of the host is visible"
