"""`wherry attach`: several at once, from now or from the start, left again, never in the container's way."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from clikit import PATIENCE, await_line, detached, field, finish, ok, read_line, refused, running, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

CTRL_C, CTRL_P, CTRL_Q = b"\x03", b"\x10", b"\x11"


def ready(daemon: Daemon, reference: str, count: int) -> bool:
    """Wait until so many clients have attached."""
    filters = ["--filter", "event=attach", "--filter", f"container={field(daemon, reference, 'Id')}"]
    shown = ["events", "--since", "1h", "--until", "0s", *filters]
    return wait_for(lambda: len(ok(daemon, *shown).splitlines()) == count)


def test_several_see_what_comes_and_not_what_was(wherryd: Daemon, busybox: Path) -> None:
    detached(
        wherryd, "-i", "--name", "c", busybox, "sh", "-c", "echo before; read x; echo got $x; read y; exit 4"
    )
    await_line(wherryd, "c", "before")
    with running(wherryd, "attach", "c") as first, running(wherryd, "attach", "--no-stdin", "c") as second:
        assert ready(wherryd, "c", 2)
        assert first.stdin is not None
        first.stdin.write(b"word\n")
        first.stdin.flush()
        assert read_line(first) == "got word"
        assert read_line(second) == "got word"
        first.stdin.write(b"\n")
        first.stdin.flush()
        assert (first.wait(PATIENCE), second.wait(PATIENCE)) == (4, 4), "the exit code is the container's"


def test_logs_begins_at_the_start(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "-i", "--name", "c", busybox, "sh", "-c", "echo two >&2; echo one; read x; echo three")
    await_line(wherryd, "c", "one")
    with running(wherryd, "attach", "--logs", "c") as process:
        assert read_line(process) == "one"
        assert finish(process, b"\n") == (0, "three\n", "two\n")


def test_the_end_of_our_input_is_not_the_end_of_its(wherryd: Daemon, busybox: Path) -> None:
    """As docker, for a container that was started with its input open."""
    detached(wherryd, "-i", "--name", "c", busybox, "cat")
    for word in ("first", "second"):
        with running(wherryd, "attach", "c") as process:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
            process.stdin.close()
            assert read_line(process) == word
    assert field(wherryd, "c", "State.Status") == "running"


def test_a_killed_client_changes_nothing(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "-i", "--name", "c", busybox, "cat")
    with running(wherryd, "attach", "c") as process:
        assert ready(wherryd, "c", 1)
        process.kill()
        process.wait(PATIENCE)
    assert field(wherryd, "c", "State.Status") == "running"


def test_signals_go_to_the_container_unless_told_not_to(wherryd: Daemon, busybox: Path) -> None:
    script = "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    detached(wherryd, "--name", "c", busybox, "sh", "-c", script)
    with running(wherryd, "attach", "--sig-proxy=false", "--logs", "c") as process:
        assert read_line(process) == "up"
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (143, "", "wherry: c runs on\n")
    with running(wherryd, "attach", "--logs", "c") as process:
        assert read_line(process) == "up"
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (7, "told\n", "")


def test_one_that_does_not_read_blocks_nobody(wherryd: Daemon, busybox: Path) -> None:
    script = "read x; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo done > /tmp/done; cat"
    detached(wherryd, "-i", "--name", "c", busybox, "sh", "-c", script)
    with running(wherryd, "attach", "c") as stuck, running(wherryd, "attach", "c") as reader:
        assert ready(wherryd, "c", 2)
        assert reader.stdin is not None
        reader.stdin.write(b"\n")
        reader.stdin.flush()
        assert reader.stdout is not None
        assert len(reader.stdout.read(30_000_001)) == 30_000_001
        assert wait_for(lambda: wherryd.cli("exec", "c", "cat", "/tmp/done").stdout == "done\n")
        assert stuck.poll() is None


def test_what_is_not_running_cannot_be_attached_to(wherryd: Daemon, busybox: Path) -> None:
    assert "no container" in refused(wherryd, "attach", "missing")
    ok(wherryd, "create", "--name", "new", busybox, "true")
    assert "not running" in refused(wherryd, "attach", "new")
    detached(wherryd, "--name", "c", busybox, "sleep", "1000")
    ok(wherryd, "pause", "c")
    assert "paused" in refused(wherryd, "attach", "c")
    ok(wherryd, "unpause", "c")
    detached(wherryd, "-it", "--name", "tty", busybox, "sh")
    assert "--no-stdin" in refused(wherryd, "attach", "tty")


@pytest.mark.parametrize(
    ("option", "keys"), [((), CTRL_P + CTRL_Q), (("--detach-keys", "ctrl-a,d"), b"\x01d")]
)
def test_a_terminal_is_left_and_taken_again(
    wherryd: Daemon, busybox: Path, option: tuple[str, ...], keys: bytes
) -> None:
    with wherryd.terminal("run", "--name", "c", "-it", *option, "-e", "PS1=> ", busybox, "sh") as terminal:
        terminal.expect("> ")
        terminal.send(b"word=kept\n")
        terminal.expect("> ")
        terminal.send(keys)
        assert terminal.wait() == 0
    with wherryd.terminal("attach", *option, "c") as terminal:
        before = terminal.before
        assert ready(wherryd, "c", 2), "run was the first"
        terminal.send("echo $word\n")
        terminal.expect("kept\r\n")
        terminal.resize(40, 120)
        terminal.send("until stty size | grep '40 120'; do sleep 0.1; done\n")
        terminal.expect("\r\n40 120\r\n")
        terminal.send("sh -c 'echo beg''un; exec sleep 1000'\n")
        terminal.expect("begun\r\n")
        terminal.send(CTRL_C)
        terminal.expect("> ")
        terminal.send(keys)
        terminal.expect("c runs on\r\n")
        assert terminal.wait() == 0
        assert terminal.attributes() == before, "the terminal was left raw"
    with wherryd.terminal("attach", *option, "c") as terminal:
        terminal.send("exit 9\n")
        assert terminal.wait() == 9


def test_who_attaches_has_the_terminal_drawn_anew(wherryd: Daemon, busybox: Path) -> None:
    """A full-screen program shows itself when the window changes, and is told of one."""
    script = "trap 'echo drawn' WINCH; echo up; while :; do read -t 1 x; done"
    detached(wherryd, "-it", "--name", "c", busybox, "sh", "-c", script)
    await_line(wherryd, "c", "up\r")
    with wherryd.terminal("attach", "c") as terminal:
        terminal.expect("drawn")
