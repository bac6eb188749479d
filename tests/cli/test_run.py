"""`wherry run`: what comes out, what goes in, how it ends, and what stays."""

from __future__ import annotations

import hashlib
import os
import re
import select
import signal
import statistics
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from clikit import (
    ID,
    PATIENCE,
    await_line,
    detached,
    field,
    finish,
    inspect,
    kept,
    names,
    ok,
    read_line,
    refused,
    running,
    wait_for,
)
from support.forms import within

from wherry import Conflict, RunSpec

if TYPE_CHECKING:
    from support.daemon import Daemon

NOTED_WITHIN = within(0.05)
"""Seconds from a process' end to the supervisor's knowing it."""

RACERS = 200

ON_TERM = "trap 'echo got it; exit 9' {signal}; echo ready; while :; do sleep 1000 & wait $!; done"


def test_the_exit_code_is_the_containers(wherryd: Daemon, busybox: Path) -> None:
    for code in (0, 1, 7, 125, 255):
        done = wherryd.cli("run", "--rm", busybox, "sh", "-c", f"exit {code}")
        assert (done.exit_code, done.stderr) == (code, ""), "the command's own exit code was lost"


def test_death_by_a_signal_is_128_and_its_number(wherryd: Daemon, busybox: Path) -> None:
    with running(wherryd, "run", "--name", "victim", busybox, "sh", "-c", "echo up; exec sleep 1000") as run:
        read_line(run)
        ok(wherryd, "kill", "victim")
        assert finish(run)[0] == 128 + signal.SIGKILL, "a killed container looked like another end"
    assert field(wherryd, "victim", "State.ExitCode") == "137"
    assert "Exited (137)" in ok(wherryd, "ps", "-a")


def test_stdout_and_stderr_stay_apart(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n"), "the two streams were mixed"


def test_every_byte_comes_out_as_it_went_in(wherryd: Daemon, busybox: Path) -> None:
    """Bytes of all values, more than any buffer, without a newline at the end."""
    data = hashlib.shake_256(b"wherry").digest(3_000_001)
    with running(wherryd, "run", "--rm", "-i", busybox, "cat") as run:
        out, err = run.communicate(data, timeout=PATIENCE)
    assert (run.returncode, err) == (0, b"")
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest(), f"{len(out)} of {len(data)} bytes"


def test_end_of_input_reaches_the_container(wherryd: Daemon, busybox: Path) -> None:
    assert ok(wherryd, "run", "--rm", "-i", busybox, "wc", "-c", input="12345") == "5\n"
    assert ok(wherryd, "run", "--rm", "-i", busybox, "wc", "-c", input="") == "0\n"


def test_input_goes_nowhere_without_i(wherryd: Daemon, busybox: Path) -> None:
    assert ok(wherryd, "run", "--rm", busybox, "cat", input="secret") == "", "input passed without -i"


def test_a_command_that_reads_no_input_ends_all_the_same(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--rm", "-i", busybox, "true", input=b"x" * 1_000_000)
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_a_signal_to_the_command_is_passed_on(wherryd: Daemon, busybox: Path, name: str) -> None:
    script = ON_TERM.format(signal=name)
    with running(wherryd, "run", "--rm", busybox, "sh", "-c", script) as run:
        assert read_line(run) == "ready"
        run.send_signal(getattr(signal, f"SIG{name}"))
        assert finish(run) == (9, "got it\n", ""), f"SIG{name} did not reach the container"


def test_a_killed_client_leaves_the_container_running(wherryd: Daemon, busybox: Path) -> None:
    script = "echo up; read line; echo $line; sleep 1000"
    with running(wherryd, "run", "-i", "--name", "orphan", busybox, "sh", "-c", script) as run:
        read_line(run)
        run.kill()
        run.wait(PATIENCE)
    assert field(wherryd, "orphan", "State.Status") == "running", "the container died with its client"


def test_a_closed_output_does_not_hurt_the_container(wherryd: Daemon, busybox: Path) -> None:
    script = "while :; do echo line || exit 3; done"
    with running(wherryd, "run", "--name", "chatty", busybox, "sh", "-c", script) as run:
        read_line(run)
        assert run.stdout is not None
        run.stdout.close()
        assert run.wait(PATIENCE) == -signal.SIGPIPE, "the command did not end as programs do in a pipe"
    assert field(wherryd, "chatty", "State.Status") == "running"


def test_rm_leaves_nothing(wherryd: Daemon, busybox: Path) -> None:
    before = kept(wherryd)
    ok(wherryd, "run", "--rm", "--name", "gone", busybox, "sh", "-c", "echo x > /file")
    assert names(wherryd, "-a") == []
    ok(wherryd, "run", "--rm", "--name", "gone", busybox, "true")
    refused(wherryd, "logs", "gone")
    assert wait_for(lambda: kept(wherryd) <= before), "files of a removed container stayed"


def test_without_rm_the_ended_container_stays(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "stays", busybox, "echo", "words")
    assert names(wherryd) == []
    assert names(wherryd, "-a") == ["stays"]
    assert ok(wherryd, "logs", "stays") == "words\n"


def test_rm_of_a_detached_container_happens_at_its_end(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--rm", "--name", "brief", busybox, "sleep", "1000")
    assert names(wherryd) == ["brief"]
    ok(wherryd, "stop", "-t", "0", "brief")
    assert names(wherryd, "-a") == []


def test_detach_prints_the_id_and_returns_while_it_runs(wherryd: Daemon, busybox: Path) -> None:
    printed = ok(wherryd, "run", "-d", "--name", "background", busybox, "sleep", "1000")
    assert ID.fullmatch(printed.rstrip("\n")), printed
    assert field(wherryd, "background", "Id") == printed.strip()
    assert field(wherryd, "background", "State.Running") == "true"


@pytest.mark.alone
def test_a_detached_end_is_seen_without_anyone_asking(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """FinishedAt against the time of the process' own last deed; nobody asks until much later."""
    late: list[float] = []
    for number in range(5):
        mark = tmp_path / f"mark{number}"
        script = f"sleep {within(0.7)}; : > /marks/{mark.name}"
        container = detached(wherryd, "-v", f"{tmp_path}:/marks", busybox, "sh", "-c", script)
        pidfd = os.pidfd_open(int(field(wherryd, container, "State.Pid")))
        ready, _, _ = select.select([pidfd], [], [], PATIENCE)
        os.close(pidfd)
        assert ready, "the container never ended"
        ok(wherryd, "run", "--rm", busybox, "true")  # takes longer than the limit
        assert field(wherryd, container, "State.Status") == "exited"
        finished = datetime.fromisoformat(field(wherryd, container, "State.FinishedAt"))
        late.append(finished.timestamp() - mark.stat().st_mtime)
    assert statistics.median(late) < NOTED_WITHIN, f"the end was noted so many seconds late: {late}"


def test_a_detached_exit_code_is_kept(wherryd: Daemon, busybox: Path) -> None:
    container = detached(wherryd, busybox, "sh", "-c", "exit 42")
    assert ok(wherryd, "wait", container) == "42\n"
    assert field(wherryd, container, "State.ExitCode") == "42"


def test_a_made_up_name_is_readable_and_unique(wherryd: Daemon, busybox: Path) -> None:
    ids = [ok(wherryd, "create", busybox, "true").strip() for _ in range(4)]
    made = names(wherryd, "-a")
    assert len(set(made)) == len(ids) == 4
    for name in made:
        assert re.fullmatch(r"[a-z]+_[a-z]+\d*", name), f"{name} is not readable"


def test_one_of_many_with_one_name_wins(wherryd: Daemon, busybox: Path) -> None:
    """All at once: one runs, the others are clear conflicts, and none of them leaves anything."""
    start = Barrier(RACERS)

    def race(_: int) -> str:
        with wherryd.client() as client:
            client.ping()
            start.wait(PATIENCE)
            try:
                spec = RunSpec(image=str(busybox), name="prize", command=("sleep", "1000"))
                return client.run_detached(spec).id
            except Conflict as error:
                return "" if "prize is taken" in str(error) else str(error)

    with ThreadPoolExecutor(RACERS) as threads:
        winners = [each for each in threads.map(race, range(RACERS)) if each]
    assert len(winners) == 1, f"{len(winners)} containers got one name"
    assert wherryd.container_ids() == set(winners)
    assert wait_for(lambda: os.listdir(wherryd.state_dir / "containers") == winners)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("missing", 127, "'missing' not found in $PATH"),
        ("/bin/missing", 127, "'/bin/missing' not found"),
        ("/etc/passwd", 126, "'/etc/passwd' cannot be executed"),
        ("/etc", 126, "'/etc' cannot be executed"),
    ],
)
def test_a_command_that_cannot_be_executed_leaves_nothing(
    wherryd: Daemon, busybox: Path, command: str, code: int, words: str
) -> None:
    for flags in ([], ["-d"], ["--rm"]):
        assert words in refused(wherryd, "run", *flags, busybox, command, code=code)
    assert names(wherryd, "-a") == [], "a container that never ran was left"


def test_a_script_without_its_interpreter_says_so(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/nowhere\n")
    script.chmod(0o755)
    line = refused(wherryd, "run", "-v", f"{script}:/script", busybox, "/script", code=127)
    assert "interpreter" in line, "the file is there: say that its interpreter is not"


def test_the_host_image_needs_nothing_but_this_machine(wherryd: Daemon) -> None:
    release = os.uname().release
    assert ok(wherryd, "run", "--rm", "host", "uname", "-r") == f"{release}\n"
    assert ok(wherryd, "run", "--rm", "host", "sh", "-c", "id -un; ls /home") == "root\n"
    denied = wherryd.cli("run", "--rm", "host", "touch", "/usr/bin/canary")
    assert denied.exit_code != 0, "a container wrote to the machine's own /usr"


def test_a_container_that_leaves_a_daemon_behind_is_ended_whole(wherryd: Daemon, busybox: Path) -> None:
    """The last process of the cgroup is gone when the container is."""
    script = "(trap '' HUP TERM; sleep 1000) & echo left"
    ok(wherryd, "run", "--name", "parent", busybox, "sh", "-c", script)
    cgroup = inspect(wherryd, "parent")["CgroupPath"]
    assert not os.path.exists(cgroup), "the container's cgroup outlived it"


def test_an_archive_directory_and_name_with_spaces_work(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """Nothing goes through a shell."""
    link = tmp_path / "an image; touch $(echo x)"
    link.symlink_to(busybox)
    assert ok(wherryd, "run", "--rm", link, "echo", "a b", "$HOME; `id`") == "a b $HOME; `id`\n"
    assert ok(wherryd, "run", "--rm", os.path.relpath(busybox), "echo", "relative") == "relative\n"


def test_changes_stay_in_the_container_and_off_the_image(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "writer", busybox, "sh", "-c", "echo mine > /etc/new; rm /etc/group")
    assert not (busybox / "etc/new").exists()
    assert (busybox / "etc/group").exists()
    assert "new" not in ok(wherryd, "run", "--rm", busybox, "ls", "/etc").split()
    ok(wherryd, "rm", "writer")


def test_output_is_kept_from_the_first_byte_to_the_last(wherryd: Daemon, busybox: Path) -> None:
    """A container that prints much and exits at once."""
    out = ok(wherryd, "run", "--name", "burst", busybox, "sh", "-c", "seq 1 100000")
    assert out.split() == [str(number) for number in range(1, 100001)], "lines were lost or doubled"
    log = wherryd.state_dir / "containers" / field(wherryd, "burst", "Id") / "log"
    assert log.read_text() == out, "the log file is not what the container printed"


def test_a_detached_container_prints_into_its_log(wherryd: Daemon, busybox: Path) -> None:
    container = detached(wherryd, busybox, "sh", "-c", "echo first; exec sleep 1000")
    await_line(wherryd, container, "first")
    log = Path(field(wherryd, container, "LogPath"))
    assert log.read_text() == "first\n", "LogPath is not the file of what was printed"
