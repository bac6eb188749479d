"""create, start, stop, kill, restart, pause, unpause, wait, rm, rename: what they do and when they return."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import (
    ID,
    await_line,
    detached,
    field,
    finish,
    inspect,
    names,
    ok,
    read_line,
    refused,
    running,
    wait_for,
)

from wherry import RunSpec

if TYPE_CHECKING:
    from support.daemon import Daemon

POLITE = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 1000 & wait $!; done"
LONG = "60"
"""Seconds of a timeout that must not be waited for."""
SOON = 5.0


def start_shell(daemon: Daemon, busybox: Path, name: str, script: str) -> None:
    """Start a container and wait until its script has set itself up."""
    detached(daemon, "--name", name, busybox, "sh", "-c", script)
    await_line(daemon, name, "up")


# -- create, start -----


def test_create_prints_the_id_and_starts_nothing(wherryd: Daemon, busybox: Path) -> None:
    printed = ok(wherryd, "create", "--name", "made", busybox, "echo", "hi").strip()
    assert ID.fullmatch(printed)
    assert field(wherryd, "made", "State.Status") == "created"
    assert (names(wherryd), names(wherryd, "-a")) == ([], ["made"])
    assert ok(wherryd, "logs", "made") == ""


def test_start_runs_what_was_created(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "made", "-e", "A=b", busybox, "sh", "-c", "echo $A; exec sleep 1000")
    assert ok(wherryd, "start", "made") == "made\n"
    await_line(wherryd, "made", "b")
    assert field(wherryd, "made", "State.Status") == "running"


def test_start_again_keeps_the_files_and_goes_on_with_the_log(wherryd: Daemon, busybox: Path) -> None:
    script = "cat /kept 2>/dev/null; echo run >> /kept; echo end"
    ok(wherryd, "run", "--name", "again", busybox, "sh", "-c", script)
    ok(wherryd, "start", "again")
    ok(wherryd, "wait", "again")
    assert ok(wherryd, "logs", "again").split() == ["end", "run", "end"]


def test_start_in_the_foreground(wherryd: Daemon, busybox: Path) -> None:
    """Its output, its input with -i, its exit code; of this run only."""
    ok(wherryd, "create", "-i", "--name", "fore", busybox, "sh", "-c", "cat; echo err >&2; exit 6")
    done = wherryd.cli("start", "-a", "-i", "fore", input="typed")
    assert (done.exit_code, done.stdout, done.stderr) == (6, "typed", "err\n")
    done = wherryd.cli("start", "-ai", "fore", input="again")
    assert (done.exit_code, done.stdout) == (6, "again"), "the output of the run before came again"


def test_start_of_several(wherryd: Daemon, busybox: Path) -> None:
    for name in ("one", "two"):
        ok(wherryd, "create", "--name", name, busybox, "sleep", "1000")
    assert ok(wherryd, "start", "one", "two") == "one\ntwo\n"
    assert sorted(names(wherryd)) == ["one", "two"]


def test_start_of_a_running_one_is_refused(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "on", busybox, "sleep", "1000")
    pid = field(wherryd, "on", "State.Pid")
    assert "on is running" in refused(wherryd, "start", "on")
    assert field(wherryd, "on", "State.Pid") == pid


def test_a_start_that_fails_leaves_it_as_it_was(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "bad", busybox, "missing")
    refused(wherryd, "start", "bad", code=127)
    assert field(wherryd, "bad", "State.Status") == "created"
    refused(wherryd, "start", "-a", "bad", code=127)


# -- stop, kill, restart -----


def test_stop_returns_as_soon_as_the_container_has_ended(wherryd: Daemon, busybox: Path) -> None:
    start_shell(wherryd, busybox, "polite", POLITE)
    began = time.monotonic()
    assert ok(wherryd, "stop", "-t", LONG, "polite") == "polite\n"
    assert time.monotonic() - began < SOON, "stop waited although the container had ended"
    assert field(wherryd, "polite", "State.Status") == "exited"
    assert field(wherryd, "polite", "State.ExitCode") == "0"
    assert ok(wherryd, "logs", "polite") == "up\nbye\n"


def test_stop_kills_at_the_timeout(wherryd: Daemon, busybox: Path) -> None:
    start_shell(wherryd, busybox, "stubborn", STUBBORN)
    began = time.monotonic()
    ok(wherryd, "stop", "-t", "0.5", "stubborn")
    took = time.monotonic() - began
    assert 0.5 <= took < SOON, f"SIGKILL came after {took} s, not 0.5 s"
    assert field(wherryd, "stubborn", "State.ExitCode") == "137"


def test_stop_with_no_timeout_kills_at_once(wherryd: Daemon, busybox: Path) -> None:
    start_shell(wherryd, busybox, "now", POLITE)
    ok(wherryd, "stop", "-t", "0", "now")
    assert field(wherryd, "now", "State.ExitCode") == "137", "stop -t 0 did not kill"
    assert ok(wherryd, "logs", "now") == "up\n"


def test_several_are_stopped_in_parallel(wherryd: Daemon, busybox: Path) -> None:
    several = [f"s{number}" for number in range(6)]
    for name in several:
        start_shell(wherryd, busybox, name, STUBBORN)
    began = time.monotonic()
    assert ok(wherryd, "stop", "-t", "1", *several).split() == several
    assert time.monotonic() - began < len(several), "they were stopped one after the other"
    assert names(wherryd) == []


def test_one_that_is_not_there_does_not_keep_the_others_from_stopping(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "real", busybox, "sleep", "1000")
    done = wherryd.cli("stop", "-t", "0", "nobody", "real")
    assert (done.exit_code, done.stdout) == (1, "real\n")
    assert done.stderr.count("\n") == 1
    assert "no container nobody" in done.stderr
    assert names(wherryd) == []


def test_stop_of_an_ended_one_is_done_already(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "over", busybox, "true")
    assert ok(wherryd, "stop", "over") == "over\n"
    assert field(wherryd, "over", "State.ExitCode") == "0"


def test_stop_of_one_that_never_ran_is_refused(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "create", "--name", "made", busybox, "true")
    assert "never started" in refused(wherryd, "stop", "made")


def test_other_requests_are_answered_during_a_stop(wherryd: Daemon, busybox: Path) -> None:
    start_shell(wherryd, busybox, "stubborn", STUBBORN)
    with running(wherryd, "stop", "-t", LONG, "stubborn") as stop:
        assert names(wherryd) == ["stubborn"]
        ok(wherryd, "kill", "stubborn")
        assert finish(stop) == (0, "stubborn\n", ""), "stop did not notice that somebody else ended it"


def test_kill_sends_sigkill_or_what_is_asked(wherryd: Daemon, busybox: Path) -> None:
    script = "trap 'echo one' USR1; trap 'echo two' USR2; echo up; while :; do sleep 1000 & wait $!; done"
    start_shell(wherryd, busybox, "target", script)
    for signal, line in (("USR1", "one"), ("SIGUSR2", "two")):
        assert ok(wherryd, "kill", "-s", signal, "target") == "target\n"
        await_line(wherryd, "target", line)
    ok(wherryd, "kill", "--signal", "10", "target")
    ok(wherryd, "kill", "target")
    assert ok(wherryd, "wait", "target") == "137\n"


def test_kill_of_an_ended_one_is_refused(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "over", busybox, "true")
    assert "not running" in refused(wherryd, "kill", "over")


def test_restart_is_a_new_run(wherryd: Daemon, busybox: Path) -> None:
    start_shell(wherryd, busybox, "svc", POLITE)
    before = inspect(wherryd, "svc")["State"]
    assert ok(wherryd, "restart", "-t", LONG, "svc") == "svc\n"
    after = inspect(wherryd, "svc")["State"]
    assert after["Running"] is True
    assert after["Pid"] != before["Pid"], "it is still the old process"
    assert after["StartedAt"] > before["StartedAt"]
    assert not Path(f"/proc/{before['Pid']}").exists(), "the old process is still there"


def test_restart_of_an_ended_one_starts_it(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "over", busybox, "echo", "x")
    ok(wherryd, "restart", "over")
    ok(wherryd, "wait", "over")
    assert ok(wherryd, "logs", "over") == "x\nx\n"


def test_restart_keeps_a_container_that_is_to_be_removed(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--rm", "--name", "svc", busybox, "sleep", "1000")
    ok(wherryd, "restart", "-t", "0", "svc")
    assert names(wherryd) == ["svc"], "--rm removed it in the middle of a restart"


# -- pause, wait -----


def test_pause_freezes_and_unpause_thaws(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "svc", busybox, "sleep", "1000")
    cgroup = Path(inspect(wherryd, "svc")["CgroupPath"])
    assert ok(wherryd, "pause", "svc") == "svc\n"
    assert "frozen 1" in (cgroup / "cgroup.events").read_text()
    state = inspect(wherryd, "svc")["State"]
    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    assert "(Paused)" in ok(wherryd, "ps")
    assert ok(wherryd, "unpause", "svc") == "svc\n"
    assert "frozen 0" in (cgroup / "cgroup.events").read_text()
    assert field(wherryd, "svc", "State.Status") == "running"


def test_what_a_pause_does_not_allow(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "svc", busybox, "sleep", "1000")
    assert "svc is running" in refused(wherryd, "unpause", "svc")
    ok(wherryd, "pause", "svc")
    assert "svc is paused" in refused(wherryd, "pause", "svc")
    assert "unpause" in refused(wherryd, "start", "svc")
    assert "svc is paused" in refused(wherryd, "rm", "svc")
    ok(wherryd, "run", "--name", "over", busybox, "true")
    assert "over is exited" in refused(wherryd, "pause", "over")


@pytest.mark.parametrize("ending", [["stop", "-t", LONG], ["kill"], ["rm", "-f"], ["restart", "-t", LONG]])
def test_a_paused_container_can_be_ended(wherryd: Daemon, busybox: Path, ending: list[str]) -> None:
    start_shell(wherryd, busybox, "cold", POLITE)
    ok(wherryd, "pause", "cold")
    began = time.monotonic()
    ok(wherryd, *ending, "cold")
    assert time.monotonic() - began < SOON, "a frozen container could not be ended"
    if ending == ["kill"]:
        assert ok(wherryd, "wait", "cold") == "137\n"


def test_wait_returns_at_the_end_with_the_code(wherryd: Daemon, busybox: Path) -> None:
    script = "trap 'exit 12' TERM; echo up; while :; do sleep 1000 & wait $!; done"
    start_shell(wherryd, busybox, "one", script)
    with running(wherryd, "wait", "one") as wait:
        ok(wherryd, "kill", "-s", "TERM", "one")
        assert finish(wait) == (0, "12\n", "")


def test_wait_for_several_prints_in_their_order(wherryd: Daemon, busybox: Path) -> None:
    for code in (3, 1, 2):
        detached(wherryd, "--name", f"w{code}", busybox, "sh", "-c", f"exit {code}")
    assert ok(wherryd, "wait", "w3", "w1", "w2") == "3\n1\n2\n"


def test_wait_for_one_that_is_removed_does_not_hang(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--rm", "--name", "brief", busybox, "sleep", "1000")
    with running(wherryd, "wait", "brief") as wait:
        ok(wherryd, "rm", "-f", "brief")
        code, out, err = finish(wait)
    assert (code, out) == (0, "137\n") or "no container brief" in err


# -- rm, rename, references -----


def test_rm_removes_ended_ones(wherryd: Daemon, busybox: Path) -> None:
    ok(wherryd, "run", "--name", "a", busybox, "true")
    ok(wherryd, "create", "--name", "b", busybox, "true")
    assert ok(wherryd, "rm", "a", "b") == "a\nb\n"
    assert names(wherryd, "-a") == []
    assert "no container a" in refused(wherryd, "rm", "a")


def test_rm_of_a_running_one_needs_force(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "on", busybox, "sleep", "1000")
    assert "rm -f" in refused(wherryd, "rm", "on")
    assert names(wherryd) == ["on"]
    pid = field(wherryd, "on", "State.Pid")
    assert ok(wherryd, "rm", "-f", "on") == "on\n"
    assert names(wherryd, "-a") == []
    assert not Path(f"/proc/{pid}").exists(), "the process outlived its container"


def test_a_removed_name_is_free_at_once(wherryd: Daemon, busybox: Path) -> None:
    for _ in range(3):
        detached(wherryd, "--name", "same", busybox, "sleep", "1000")
        ok(wherryd, "rm", "-f", "same")


def test_rename(wherryd: Daemon, busybox: Path) -> None:
    identity = detached(wherryd, "--name", "old", busybox, "sleep", "1000")
    assert ok(wherryd, "rename", "old", "new") == ""
    assert field(wherryd, "new", "Id") == identity
    assert "no container old" in refused(wherryd, "inspect", "--format", "{{.Id}}", "old")
    ok(wherryd, "create", "--name", "old", busybox, "true")
    assert "taken" in refused(wherryd, "rename", "new", "old")
    assert "taken" in refused(wherryd, "create", "--name", "new", busybox, "true")
    refused(wherryd, "rename", "new", "new")
    refused(wherryd, "rename", "nobody", "somebody")


def test_a_container_is_found_by_name_id_and_prefix(wherryd: Daemon, busybox: Path) -> None:
    identity = ok(wherryd, "create", "--name", "named", busybox, "true").strip()
    for reference in ("named", identity, identity[:12], identity[:4]):
        assert field(wherryd, reference, "Name") == "/named"


def test_an_ambiguous_prefix_is_refused(wherryd: Daemon, busybox: Path) -> None:
    """Of seventeen ids two begin with the same digit."""
    with wherryd.client() as client:
        ids = [client.create(RunSpec(image=str(busybox), command=("true",))).id for _ in range(17)]
    digit = next(each[0] for each in ids if sum(other[0] == each[0] for other in ids) > 1)
    assert "ambiguous" in refused(wherryd, "rm", digit)
    assert len(wherryd.container_ids()) == len(ids)


def test_a_name_wins_over_an_id_prefix(wherryd: Daemon, busybox: Path) -> None:
    identity = ok(wherryd, "create", "--name", "first", busybox, "true").strip()
    ok(wherryd, "create", "--name", identity[:6], busybox, "true")
    assert field(wherryd, identity[:6], "Name") == f"/{identity[:6]}"


def test_a_client_that_hangs_up_in_a_stop_changes_nothing(wherryd: Daemon, busybox: Path) -> None:
    """The stop goes on to its end."""
    start_shell(wherryd, busybox, "stubborn", STUBBORN)
    told = ("events", "--since", "1h", "--until", "0s", "-f", f"container={field(wherryd, 'stubborn', 'Id')}")
    with (
        running(wherryd, "stop", "-t", "0.5", "stubborn") as stop,
        running(wherryd, "logs", "-f", "stubborn") as log,
    ):
        read_line(log)
        with running(wherryd, "wait", "stubborn") as wait:
            assert wait_for(lambda: "kill" in ok(wherryd, *told)), "nobody asked for the stop"
            stop.kill()
            assert finish(wait)[1] == "137\n"
