"""`wherry exec` as a user and his scripts meet it: streams, exit codes, refusals, and what ends with what."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import PATIENCE, detached, field, finish, ok, read_line, refused, running, wait_for

if TYPE_CHECKING:
    from support.daemon import Daemon


@pytest.fixture
def web(wherryd: Daemon, busybox: Path) -> str:
    """A container that runs."""
    detached(wherryd, "--name", "web", "-e", "COLOUR=red", "-w", "/tmp", busybox, "sleep", "1000")
    return "web"


def commands(daemon: Daemon, reference: str) -> list[str]:
    """Return what runs in a container, by the first argument."""
    cgroup = Path(field(daemon, reference, "CgroupPath"))
    found = []
    for pid in (cgroup / "cgroup.procs").read_text().split():
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


def test_output_and_exit_code_are_the_commands(wherryd: Daemon, web: str) -> None:
    done = wherryd.cli("exec", web, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(("how", "code"), [("kill -9 $$", 137), ("kill -TERM $$", 143), ("true", 0)])
def test_exit_code_of_a_signal_is_as_a_shells(wherryd: Daemon, web: str, how: str, code: int) -> None:
    assert wherryd.cli("exec", web, "sh", "-c", how).exit_code == code


def test_it_is_as_the_first_process_is(wherryd: Daemon, web: str) -> None:
    """Environment, directory and user are the container's."""
    assert ok(wherryd, "exec", web, "sh", "-c", "echo $COLOUR; pwd; id -u; hostname") == (
        f"red\n/tmp\n0\n{field(wherryd, web, 'Config.Hostname')}\n"
    )


def test_options_change_environment_directory_and_user(wherryd: Daemon, web: str, tmp_path: Path) -> None:
    variables = tmp_path / "env"
    variables.write_text("# no variable\nSIZE=big\nCOLOUR=green\n")
    printed = ok(
        wherryd, "exec", "--env-file", variables, "-e", "COLOUR=blue=dark", "-e", "EMPTY=", "-w", "/usr",
        "-u", "user", web, "sh", "-c", "echo $SIZE $COLOUR ${EMPTY-unset}; pwd; id; echo $HOME",
    )  # fmt: skip
    assert printed == "big blue=dark\n/usr\nuid=1000(user) gid=1000(user) groups=2000(extra)\n/home\n"


def test_input_goes_in_only_with_i(wherryd: Daemon, web: str) -> None:
    assert ok(wherryd, "exec", "-i", web, "cat", input="line\n") == "line\n"
    assert ok(wherryd, "exec", web, "cat", input="line\n") == ""


def test_pipes_are_the_commands_own(wherryd: Daemon, web: str) -> None:
    """No byte passes by anybody: the command has the very pipe that our reader reads."""
    with running(wherryd, "exec", web, "readlink", "/proc/self/fd/1") as process:
        assert process.stdout is not None
        assert read_line(process) == os.readlink(f"/proc/self/fd/{process.stdout.fileno()}")


def test_files_of_ours_are_not_the_commands(wherryd: Daemon, web: str, tmp_path: Path) -> None:
    """Root inside could open them again to write, or change their mode: it gets a pipe."""
    kept, out = tmp_path / "kept", tmp_path / "out"
    kept.write_text("precious\n")
    script = "cat; echo bad > /proc/self/fd/0; chmod 4777 /proc/self/fd/0 /proc/self/fd/1"
    with kept.open() as stdin, out.open("w") as stdout:
        subprocess.run(
            wherryd._command(("exec", "-i", web, "sh", "-c", script)),
            stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=wherryd.environment, check=False,
        )  # fmt: skip
    assert kept.read_text() == "precious\n"
    assert out.read_text() == "precious\n"
    assert {kept.stat().st_mode & 0o7777, out.stat().st_mode & 0o7777} == {0o644}


def test_nothing_is_left_when_it_cannot_be(wherryd: Daemon, web: str, busybox: Path) -> None:
    assert "not found in $PATH" in refused(wherryd, "exec", web, "missing", code=127)
    assert "not found" in refused(wherryd, "exec", web, "/bin/missing", code=127)
    assert "not executable" in refused(wherryd, "exec", web, "/etc/passwd", code=126)
    assert "directory" in refused(wherryd, "exec", web, "/etc", code=126)
    assert "/missing" in refused(wherryd, "exec", "-w", "/missing", web, "true")
    assert "no such user" in refused(wherryd, "exec", "-u", "missing", web, "true")
    assert "not absolute" in refused(wherryd, "exec", "-w", "tmp", web, "true")
    assert "command is missing" in refused(wherryd, "exec", web)
    assert "no container" in refused(wherryd, "exec", "missing", "true")
    assert "no terminal" in refused(wherryd, "exec", "-t", web, "true")
    assert "no key" in refused(wherryd, "exec", "--detach-keys", "ctrl-1", web, "true")
    ok(wherryd, "create", "--name", "new", busybox, "true")
    assert "not running" in refused(wherryd, "exec", "new", "true")
    ok(wherryd, "pause", web)
    assert "paused" in refused(wherryd, "exec", web, "true")
    ok(wherryd, "unpause", web)
    assert commands(wherryd, web) == ["sleep 1000"]


def test_detached_it_goes_on_without_a_word(wherryd: Daemon, web: str) -> None:
    assert ok(wherryd, "exec", "-d", web, "sh", "-c", "echo lost; exec sleep 2000") == ""
    assert wait_for(lambda: commands(wherryd, web) == ["sleep 1000", "sleep 2000"])


SLEEPS = {f"sleep {number}" for number in range(2001, 2006)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_killed_client_leaves_no_process_behind(wherryd: Daemon, web: str, number: int) -> None:
    script = "sleep 2001 & setsid sleep 2002 & (sleep 2003 & sleep 2004) & trap '' HUP; echo up; sleep 2005"
    with running(wherryd, "exec", web, "sh", "-c", script) as process:
        assert read_line(process) == "up"
        assert wait_for(lambda: {*commands(wherryd, web)} >= SLEEPS), commands(wherryd, web)
        if number == signal.SIGHUP:
            # Passed on, and ignored there; so that the command is killed, the client has to go.
            process.send_signal(number)
        process.kill()
        assert wait_for(lambda: commands(wherryd, web) == ["sleep 1000"]), commands(wherryd, web)


def test_signals_are_passed_on(wherryd: Daemon, web: str) -> None:
    script = "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    with running(wherryd, "exec", web, "sh", "-c", script) as process:
        assert read_line(process) == "up"
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (9, "told\n", "")


def test_the_containers_end_is_its_end(wherryd: Daemon, web: str) -> None:
    with running(wherryd, "exec", web, "sh", "-c", "echo up; exec sleep 2000") as process:
        assert read_line(process) == "up"
        ok(wherryd, "stop", "-t", "0", web)
        assert finish(process) == (137, "", "wherry: exec: container web ended\n")


def test_what_it_left_in_the_background_is_not_waited_for(wherryd: Daemon, web: str) -> None:
    with running(wherryd, "exec", web, "sh", "-c", "sleep 2000 & echo done") as process:
        assert read_line(process) == "done"
        assert process.wait(PATIENCE) == 0
    # Its shell has ended; what it forked executes its own command a moment later.
    assert wait_for(lambda: commands(wherryd, web) == ["sleep 1000", "sleep 2000"]), (
        "docker leaves it running"
    )


def test_a_reader_that_does_not_read_harms_nobody(wherryd: Daemon, web: str) -> None:
    with running(wherryd, "exec", web, "sh", "-c", "echo up; exec cat /dev/zero") as process:
        assert read_line(process) == "up"
        assert ok(wherryd, "exec", web, "echo", "alive") == "alive\n"
        assert wherryd.cli("stop", "-t", "0", web).exit_code == 0
        assert process.wait(PATIENCE) == 137


def test_events_tell_of_it(wherryd: Daemon, web: str) -> None:
    wherryd.cli("exec", web, "sh", "-c", "exit 4")
    shown = ok(wherryd, "events", "--since", "1h", "--until", "0s", "--filter", f"container={web}")
    assert "exec_create: sh -c exit 4" in shown
    assert "exec_start: sh -c exit 4" in shown
    assert "exitCode=4" in shown.partition("exec_die")[2]


def test_a_restarted_supervisor_finds_it_and_its_client_gets_the_end(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    detached(fresh_wherryd, "--name", "web", busybox, "sleep", "1000")
    script = "echo up; read line; echo got $line; exit 6"
    with running(fresh_wherryd, "exec", "-i", "web", "sh", "-c", script) as process:
        assert read_line(process) == "up"
        fresh_wherryd.kill()
        fresh_wherryd.start()
        with fresh_wherryd.client() as client:
            (found,) = client.execs("web")
        assert found.args == ("sh", "-c", script)
        assert not found.detached
        assert finish(process, b"word\n") == (6, "got word\n", "")


def test_a_client_that_went_with_the_supervisor_leaves_no_process_behind(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    detached(fresh_wherryd, "--name", "web", busybox, "sleep", "1000")
    ok(fresh_wherryd, "exec", "-d", "web", "sleep", "3000")
    with running(fresh_wherryd, "exec", "web", "sh", "-c", "echo up; exec sleep 2000") as process:
        assert read_line(process) == "up"
        fresh_wherryd.kill()
        process.kill()
        process.wait(PATIENCE)
        fresh_wherryd.start()
        assert wait_for(lambda: commands(fresh_wherryd, "web") == ["sleep 1000", "sleep 3000"])
