"""`wherry exec -it` on a real terminal: what a person does there, and how the terminal is afterwards."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from clikit import detached, ok, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

CTRL_C, CTRL_P, CTRL_Q, CTRL_Z = b"\x03", b"\x10", b"\x11", b"\x1a"


@pytest.fixture
def web(wherryd: Daemon, busybox: Path) -> str:
    """A container that runs."""
    detached(wherryd, "--name", "web", busybox, "sleep", "1000")
    return "web"


def running_execs(daemon: Daemon) -> int:
    with daemon.client() as client:
        return len(client.execs())


def test_it_has_a_terminal_of_the_containers_with_the_size_of_ours(wherryd: Daemon, web: str) -> None:
    done = wherryd.cli("exec", "-it", web, "sh", "-c", "tty; stty size; echo $TERM; exit 5", tty=True)
    assert (done.exit_code, done.stdout.split()) == (5, ["/dev/pts/0", "24", "80", "xterm"])


def test_a_shell_has_job_control_and_ctrl_c_and_sees_the_window_change(wherryd: Daemon, web: str) -> None:
    with wherryd.terminal("exec", "-it", "-e", "PS1=> ", web, "sh") as terminal:
        before = terminal.before
        terminal.expect("> ")
        assert "can't access tty" not in terminal.text
        terminal.send("sh -c 'echo beg''un; exec sleep 1000'\n")
        terminal.expect("begun\r\n")
        terminal.send(CTRL_Z)
        terminal.expect("Stopped")
        terminal.send("jobs; bg; kill %1; wait %1; echo code $?\n")
        terminal.expect("code 143\r\n")
        terminal.send("sh -c 'echo beg''un; exec sleep 1000'\n")
        terminal.expect("begun\r\n")
        terminal.send(CTRL_C)
        terminal.expect("> ")
        terminal.send("echo code $?\n")
        terminal.expect("code 130\r\n")
        terminal.resize(50, 132)
        terminal.send("until stty size | grep '50 132'; do sleep 0.1; done\n")
        terminal.expect("\r\n50 132\r\n")
        terminal.send("exit 7\n")
        assert terminal.wait() == 7
        assert terminal.attributes() == before, "the terminal was left raw"


def test_all_that_was_shown_before_the_end_is_shown(wherryd: Daemon, web: str) -> None:
    done = wherryd.cli("exec", "-it", web, "seq", "1", "20000", tty=True)
    assert done.stdout.split() == [str(number) for number in range(1, 20001)]


@pytest.mark.parametrize(
    ("option", "keys"), [((), CTRL_P + CTRL_Q), (("--detach-keys", "x,ctrl-e,y"), b"x\x05y")]
)
def test_the_keys_leave_it_running_and_it_can_go_on_printing(
    wherryd: Daemon, web: str, option: tuple[str, ...], keys: bytes
) -> None:
    script = "stty -echo; echo up; read line; seq 1 100000; echo $line > /tmp/done; sleep 1000"
    with wherryd.terminal("exec", "-it", *option, web, "sh", "-c", script) as terminal:
        before = terminal.before
        terminal.expect("up")
        terminal.send(b"word\n" + keys)
        terminal.expect("runs on\r\n")
        assert terminal.wait() == 0
        assert terminal.attributes() == before
    assert wait_for(lambda: wherryd.cli("exec", web, "cat", "/tmp/done").stdout == "word\n"), "it is stuck"
    assert running_execs(wherryd) == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_it_ends_with_its_client_and_the_terminal_is_restored(wherryd: Daemon, web: str, name: str) -> None:
    with wherryd.terminal("exec", "-it", web, "sh", "-c", "trap '' HUP; echo up; sleep 1000") as terminal:
        before = terminal.before
        terminal.expect("up")
        terminal.process.send_signal(signal.Signals[name])
        assert terminal.wait() in (128 + signal.Signals[name], -signal.Signals[name])
        if name != "SIGKILL":
            assert terminal.attributes() == before, f"{name} left the terminal raw"
        assert wait_for(lambda: running_execs(wherryd) == 0), "the command goes on without its client"


def test_the_terminal_is_restored_after_a_failed_start(wherryd: Daemon, web: str) -> None:
    with wherryd.terminal("exec", "-it", web, "missing") as terminal:
        before = terminal.before
        assert terminal.wait() == 127
        assert terminal.attributes() == before
        assert terminal.text.count("\n") == 1


def test_without_a_terminal_for_it_our_terminal_stays_ours(wherryd: Daemon, web: str) -> None:
    """A command that held it could read what is typed into it, at any time later."""
    script = "for n in 0 1 2; do test -t $n && echo terminal $n; done; readlink /proc/self/fd/1; cat"
    with wherryd.terminal("exec", "-i", web, "sh", "-c", script) as terminal:
        terminal.expect("pipe:")
        terminal.send("typed\n")
        terminal.expect("typed\r\ntyped\r\n")
        terminal.send(b"\x04")
        assert terminal.wait() == 0
        assert "terminal" not in terminal.text


def test_the_end_of_the_container_ends_it(wherryd: Daemon, web: str) -> None:
    with wherryd.terminal("exec", "-it", web, "sh", "-c", "echo up; sleep 1000") as terminal:
        before = terminal.before
        terminal.expect("up")
        ok(wherryd, "stop", "-t", "0", web)
        assert terminal.wait() == 137
        assert "container web ended" in terminal.text
        assert terminal.attributes() == before
