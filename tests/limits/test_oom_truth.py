"""Who the kernel killed for want of memory: told apart, counted, and never made up."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.forms import rounds, within

from wherry import Conflict, ContainerFailed, ExitStatus, HealthCheck, RunSpec
from wherry_protocol.limits import Limits
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from support.daemon import Daemon

    from wherry import Client

ROUNDS = rounds(short=20, long=500)
"""How many instant OOM deaths, and as many SIGKILLs from outside, are told apart."""

AT_ONCE = 8
MIB = 1 << 20
HOG = "tail -c 2000000000 /dev/zero"
"""Keeps all that it reads: it grows until something stops it, within some milliseconds."""
PATIENCE = within(15.0)

HIERARCHIES = find_hierarchies()
V2 = "memory" in HIERARCHIES.v2_controllers
pytestmark = pytest.mark.skipif(
    not V2 and "memory" not in HIERARCHIES.v1, reason="no memory controller in any cgroup hierarchy"
)
OOM_KILLED = {"signal": 9, "oom_killed": True, "oom_kills": 1, "oom_victim": "init"}
KILLED = {"signal": 9, "oom_killed": False, "oom_kills": 0, "oom_victim": None}


def spec(image: Path, *command: str, memory: int = 8 * MIB, **limits: Any) -> RunSpec:
    return RunSpec(
        image=str(image),
        command=command,
        network="none",
        stop_timeout=0,
        limits=Limits(memory=memory, **limits),
    )


def await_line(client: Client, name: str, line: bytes) -> None:
    """Wait until a container has printed a line."""
    seen = b""
    with client.log_stream(name, follow=True) as outputs:
        for output in outputs:
            seen += output.data
            if line in seen.splitlines():
                return
    raise AssertionError(f"{name} never printed {line!r}, only {seen!r}")


def kill_outside(client: Client, name: str) -> None:
    """Send a SIGKILL that the supervisor does not know of."""
    pid = client.inspect(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def ooms(client: Client, container_id: str, *, place: int = 0) -> list[tuple[str, int]]:
    """Return scope and count of the OOM events of a container up to now."""
    filters = [("container", container_id), ("event", "oom")]
    with client.events(after=place, until=time.time(), filters=filters) as events:
        return [(event.attributes["scope"], int(event.attributes["kills"])) for event in events]


def await_oom(client: Client, container_id: str, place: int) -> tuple[str, int]:
    """Wait for the next OOM event after a number."""
    filters = [("container", container_id), ("event", "oom")]
    with client.events(after=place, until=time.time() + PATIENCE, filters=filters) as events:
        for event in events:
            return event.attributes["scope"], int(event.attributes["kills"])
    raise AssertionError("no OOM event came")


def test_a_first_process_that_eats_memory_is_told(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        result = client.run(spec(busybox, "sh", "-c", f"exec {HOG}"))
        details = client.inspect(result.id)
        assert result.exit == ExitStatus(**OOM_KILLED)
        assert details.summary.exit == result.exit
        assert ooms(client, result.id) == [("init", 1)]
    document = wherryd.cli("inspect", "-f", "{{.State.OOMKilled}} {{.State.OOMVictim}}", result.name)
    assert document.stdout == "true init\n"
    shown = wherryd.cli("ps", "-a", "--format", "{{.Status}}").stdout
    assert shown.endswith("ago (OOM killed)\n"), shown
    assert wherryd.cli("ps", "-a", "--format", "{{.OOMKilled}}").stdout == "true\n"


def test_a_shell_that_runs_out_of_memory_is_told(wherryd: Daemon, busybox: Path) -> None:
    """The first process grows itself, and has lived for more than a moment: it is watched by then."""
    script = f"sleep 0.2; x=$({HOG} | tr '\\0' a | head -c 100000000); echo never"
    with wherryd.client() as client:
        result = client.run(spec(busybox, "sh", "-c", script, memory=16 * MIB))
    assert result.exit.oom_killed is True
    assert result.exit.oom_kills is not None
    # Whom the kernel chooses is its own decision: what is told agrees with what came of it.
    assert (result.exit.oom_victim == "init") == (result.exit.signal == 9)


def test_a_killed_child_is_told_while_the_container_goes_on(wherryd: Daemon, busybox: Path) -> None:
    script = f"while read line; do {HOG}; echo $?; done"
    with wherryd.client() as client:
        place = client.last_event()
        created = client.run_detached(spec(busybox, "sh", "-c", script).replace(stdin=True))
        attached = client.attach_stream(created.id)
        with attached:
            next(attached)
            fd = attached.take_fd()
            assert fd is not None
            for round_ in (1, 2):
                os.write(fd, b"go\n")
                assert await_oom(client, created.id, place) == ("child", 1)
                place = client.last_event()
                summary = client.inspect(created.id).summary
                assert (summary.state, summary.oom_kills, summary.exit) == ("running", round_, None)
            os.close(fd)
        shown = wherryd.cli("ps", "--format", "{{.Status}}").stdout
        assert shown.endswith(" (2 OOM kills)\n"), shown
        assert wherryd.cli("inspect", "-f", "{{.State.OOMKilled}}", created.name).stdout == "true\n"
        client.close_stdin(created.id)
        status = client.wait(created.id)
        assert status == ExitStatus(code=0, oom_killed=True, oom_kills=2, oom_victim="child")
        assert ooms(client, created.id) == [("child", 1), ("child", 1)], "its end tells none of them again"
    assert client_logs(wherryd, created.id).split() == [b"137", b"137"]


def client_logs(daemon: Daemon, container_id: str) -> bytes:
    with daemon.client() as client:
        return client.logs(container_id, streams=(1,))


def test_a_child_killed_just_before_the_end_is_told_with_it(wherryd: Daemon, busybox: Path) -> None:
    """Nobody watched yet: the count that is read after the end has it."""
    with wherryd.client() as client:
        result = client.run(spec(busybox, "sh", "-c", f"{HOG}; exit 3"))
        assert result.exit == ExitStatus(code=3, oom_killed=True, oom_kills=1, oom_victim="child")
        assert ooms(client, result.id) == [("child", 1)]


def test_a_sigkill_after_a_childs_death_is_not_the_oom_killers(wherryd: Daemon, busybox: Path) -> None:
    script = f"{HOG}; echo survived; sleep 1000"
    for ours in (False, True):
        with wherryd.client() as client:
            place = client.last_event()
            name = client.run_detached(spec(busybox, "sh", "-c", script)).id
            assert await_oom(client, name, place) == ("child", 1)
            if ours:
                client.kill(name)
            else:
                kill_outside(client, name)
            assert client.wait(name) == ExitStatus(signal=9, oom_killed=True, oom_kills=1, oom_victim="child")


def test_a_start_again_counts_from_nothing(wherryd: Daemon, busybox: Path) -> None:
    script = f"test -e /again && exec sleep 1000; touch /again; {HOG}"
    with wherryd.client() as client:
        result = client.run(spec(busybox, "sh", "-c", script))
        assert result.exit.oom_kills == 1
        client.start(result.id)
        assert client.inspect(result.id).summary.oom_kills == 0
        kill_outside(client, result.id)
        assert client.wait(result.id) == ExitStatus(**KILLED)


def test_no_flag_is_wrong_when_they_die_at_once(wherryd: Daemon, busybox: Path) -> None:
    """Instant OOM deaths and SIGKILLs from outside, mixed and many at a time."""

    def one(number: int) -> ExitStatus:
        with wherryd.client() as client:
            if number % 2 == 0:
                # Every other one has lived long enough to be watched, and is seen while it dies.
                first = "usleep 100000; " if number % 4 else ""
                status = client.run(spec(busybox, "sh", "-c", f"{first}exec {HOG}")).exit
            else:
                created = client.run_detached(spec(busybox, "sleep", "1000"))
                kill_outside(client, created.id)
                status = client.wait(created.id)
            return status

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(one, range(2 * ROUNDS)))
    wrong = [
        (number, end)
        for number, end in enumerate(ends)
        if end != ExitStatus(**(KILLED if number % 2 else OOM_KILLED))
    ]
    assert not wrong, f"{len(wrong)} of {len(ends)}: {wrong[:3]}"


@pytest.mark.skipif(not V2, reason="memory.oom.group is a file of cgroup v2's memory controller only")
def test_a_group_that_is_killed_as_one_is_told(wherryd: Daemon, busybox: Path) -> None:
    script = f"sleep 1000 & sleep 1000 & {HOG}; echo never"
    with wherryd.client() as client:
        result = client.run(spec(busybox, "sh", "-c", script, oom_group=True))
        assert (result.exit.signal, result.exit.oom_killed, result.exit.oom_victim) == (9, True, "group")
        assert result.exit.oom_kills is not None
        # Of four: some end with their first process before the kernel comes to them.
        assert result.exit.oom_kills >= 2
        assert ooms(client, result.id) == [("group", result.exit.oom_kills)]
        assert result.stdout == b""


# -- the supervisor's own lives ------------------------------------------------------------------------------


def test_what_happens_while_no_supervisor_is_there_is_known(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Flags and counts are right; whom it was, nobody saw."""
    daemon = fresh_wherryd
    wait = "until test -e /tmp/go; do sleep 0.02; done"
    scripts = {
        "dies": f"{wait}; exec {HOG}",
        "ends": f"{wait}; {HOG}; exit 5",
        "goes-on": f"{wait}; {HOG}; exec sleep 1000",
        "killed": "exec sleep 1000",
    }
    (daemon.root / "go").mkdir()
    with daemon.client() as client:
        for name, script in scripts.items():
            made = spec(busybox, "sh", "-c", script.replace("/tmp/go", "/go/go"))
            client.run_detached(made.replace(name=name, volumes=(volume(daemon.root / "go", "/go"),)))
        pids = {name: client.inspect(name).pid for name in scripts}
    daemon.kill()
    (daemon.root / "go" / "go").touch()
    os.kill(pids["killed"] or 0, signal.SIGKILL)
    for name in ("dies", "ends", "killed"):
        await_gone(pids[name] or 0)
    await_count(daemon, busybox)
    daemon.start()
    with daemon.client() as client:
        assert client.wait("dies") == ExitStatus(signal=9, oom_killed=True, oom_kills=1, oom_victim=None)
        assert client.wait("ends") == ExitStatus(code=5, oom_killed=True, oom_kills=1, oom_victim="child")
        assert client.wait("killed") == ExitStatus(**KILLED)
        place = 0
        assert await_oom(client, client.inspect("goes-on").summary.id, place) == ("child", 1)


def volume(source: Path, target: str) -> Any:
    from wherry import Volume

    return Volume(source=str(source), target=target)


def await_gone(pid: int) -> None:
    """Wait until a process is reaped."""
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"{pid} does not end"
        time.sleep(0.01)


def await_count(daemon: Daemon, _image: Path) -> None:
    """Wait until what sleeps in the end does: it has lost its child by then."""
    deadline = time.monotonic() + PATIENCE
    command = b"sleep\x001000\x00"
    while not any(_cmdline(pid) == command for pid in _pids(daemon)):
        assert time.monotonic() < deadline, "it never came to its end"
        time.sleep(0.01)


def _pids(daemon: Daemon) -> list[int]:
    files = daemon.cgroup.rglob("cgroup.procs")
    return [int(pid) for file in files for pid in file.read_text().split()]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_supervisor_killed_right_after_the_end_has_not_lost_the_truth(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """The counts stay until the end is on record, which is some 50 ms later."""
    daemon = fresh_wherryd
    for number in range(3):
        with daemon.client() as client:
            status = client.run(spec(busybox, "sh", "-c", f"exec {HOG}").replace(name=f"c{number}")).exit
        daemon.kill()
        assert status == ExitStatus(**OOM_KILLED)
        daemon.start()
        with daemon.client() as client:
            exit_ = client.wait(f"c{number}")
            assert (exit_.oom_killed, exit_.oom_kills, exit_.signal) == (True, 1, 9)


# -- processes beside the first one --------------------------------------------------------------------------


def test_an_exec_that_was_killed_says_so(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        created = client.run_detached(spec(busybox, "sleep", "1000"))
        eaten = client.exec(created.id, ["sh", "-c", f"exec {HOG}"])
        assert (eaten.exit.signal, eaten.exit.oom_killed) == (9, True)
        with pytest.raises(ContainerFailed, match="out of memory"):
            eaten.check()
        killed = client.exec(created.id, ["sh", "-c", "kill -9 $$"])
        assert (killed.exit.signal, killed.exit.oom_killed) == (9, False)
        assert client.inspect(created.id).summary.state == "running"
        assert await_oom(client, created.id, 0) == ("child", 1), "told some 20 ms later"
        assert len(ooms(client, created.id)) == 1


def test_execs_where_memory_has_run_out_are_killed_or_run(wherryd: Daemon, busybox: Path) -> None:
    """The kernel may take its first process for the largest, too: then it is started again."""
    outcomes: Counter[str] = Counter()
    with wherryd.client() as client:
        created = client.run_detached(spec(busybox, "sh", "-c", f"while :; do {HOG}; done"))
        for _ in range(rounds(short=100, long=2000)):
            try:
                ended = client.exec(created.id, ["true"]).exit
            except Conflict:
                client.wait(created.id)
                client.start(created.id)
                outcomes["not running"] += 1
            else:
                assert ended.exit_code in (0, 137), ended
                outcomes[f"exit {ended.exit_code}"] += 1
    print(outcomes)
    assert outcomes["exit 0"], outcomes


def test_a_probe_that_was_killed_says_so(wherryd: Daemon, busybox: Path) -> None:
    check = HealthCheck(test=("CMD-SHELL", f"exec {HOG}"), interval=0.1, retries=1)
    with wherryd.client() as client:
        created = client.run_detached(spec(busybox, "sleep", "1000").replace(health=check))
        filters = [("container", created.id), ("event", "health_status")]
        with client.events(after=0, until=time.time() + PATIENCE, filters=filters) as events:
            next(events)
        health = client.inspect(created.id).health
    assert health is not None
    assert (health.log[0].exit_code, health.log[0].output) == (137, "(the kernel killed it: out of memory)")
