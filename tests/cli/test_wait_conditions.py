"""`wait --condition`: for the next exit, not the one that has been, and for a removal; also over a crash."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from clikit import finish, ok, refused, wait_for
from support.asking import PATIENCE, asked

from wherry import Client, ExitStatus, NotFound, RestartPolicy, RunSpec, Volume, WherryError
from wherry.testing import FakeSupervisor
from wherry_protocol.containers import Inspect
from wherry_protocol.waits import WaitNextExit, WaitRemoved

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def spec(image: Path, script: str, **more: object) -> RunSpec:
    command = ("sh", "-c", script)
    return RunSpec(image=os.fspath(image), command=command, stdin=True, **more)  # type: ignore[arg-type]  # its fields


def ended(client: Client, image: Path, code: int, **more: object) -> str:
    """Have a container that has ended with `code`, and does so again when it is started."""
    made = client.run_detached(spec(image, f"exit {code}", **more))
    assert client.wait(made.id).code == code
    return made.id


def next_exit(client: Client, ref: str) -> WaitNextExit:
    """Return the request for the end of a run after the one that is over."""
    return WaitNextExit(ref=ref, after=client.inspect(ref).summary.started_at)


def test_the_next_exit_is_not_the_one_that_has_been(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        ref = ended(client, busybox, 3)
        call = next_exit(client, ref)
        with asked(wherryd, call) as waits:
            assert client.wait(ref).code == 3, "who waits for the end is still told at once"
            waits.check_open()
            client.start(ref)
            assert waits.answer().code == 3
        assert client.call(call).code == 3, "asked again, it has come"
        running = client.run_detached(spec(busybox, "read x; exit 5")).id
        with asked(wherryd, WaitNextExit(ref=running)) as waits:
            client.close_stdin(running)
            assert waits.answer().code == 5, "the run of now is the next to end"
        created = client.create(spec(busybox, "exit 6")).id
        with asked(wherryd, WaitNextExit(ref=created)) as waits:
            client.start(created)
            assert waits.answer().code == 6


def test_a_start_that_fails_is_no_exit_and_a_removal_ends_the_wait(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 4\n")
    script.chmod(0o755)
    with wherryd.client() as client:
        volume = Volume(source=os.fspath(tmp_path), target="/scripts")
        command = ("/scripts/script",)
        ref = client.run_detached(RunSpec(image=os.fspath(busybox), command=command, volumes=(volume,))).id
        assert client.wait(ref).code == 4
        with asked(wherryd, next_exit(client, ref)) as waits:
            script.chmod(0o644)
            with pytest.raises(WherryError, match="script"):
                client.start(ref)
            assert client.wait(ref).code == 4
            waits.check_open()
            client.remove(ref)
            with pytest.raises(NotFound, match="was removed before its next exit"):
                waits.answer()


def test_of_one_that_is_restarted_each_run_has_its_end(wherryd: Daemon, busybox: Path) -> None:
    """And one that is stopped while it waits for its next try has none."""
    policy = RestartPolicy(name="always")
    with wherryd.client() as client:
        ref = client.run_detached(spec(busybox, "exit 6", restart=policy)).id
        for _ in range(2):
            assert client.wait_next_exit(ref).code == 6
        client.run_detached(spec(busybox, "read x", name="db"))
        tries = client.run_detached(spec(busybox, "read x; exit 7", restart=policy, requires=("db",))).id
        client.stop("db", 0)
        client.close_stdin(tries)
        assert wait_for(lambda: client.inspect(tries).summary.state == "restarting")
        with asked(wherryd, next_exit(client, tries)) as waits:
            client.stop(tries)
            assert client.wait(tries).code == 7
            waits.check_open()


def test_a_removal_is_waited_for(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        ref = ended(client, busybox, 3)
        with asked(wherryd, WaitRemoved(container_id=ref)) as waits:
            client.remove(ref)
            assert waits.answer().code == 3
        status = client.call(WaitRemoved(container_id=ref))
        assert status.exit_code is None
        assert status.error == "it was removed before: how it ended is not known any more"
        with pytest.raises(NotFound):
            client.wait_removed(ref)
        brief = client.run_detached(spec(busybox, "read x; exit 7", auto_remove=True)).id
        with asked(wherryd, WaitRemoved(container_id=brief)) as waits:
            client.close_stdin(brief)
            assert waits.answer().code == 7
        assert brief not in {row.id for row in client.list(all=True)}
        idle = client.create(spec(busybox, "true")).id
        with asked(wherryd, WaitRemoved(container_id=idle)) as waits:
            client.remove(idle)
            assert waits.answer().error == "it never ran"


def test_the_command_prints_exit_codes(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        for code, name in ((3, "three"), (4, "four")):
            ended(client, busybox, code, name=name)
        with wherryd.popen("wait", "--condition", "next-exit", "three", "four") as process:
            while process.poll() is None:
                # It prints both when both have ended once more.
                for name in ("three", "four"):
                    client.start(name)
                    client.wait(name)
            assert finish(process) == (0, "3\n4\n", "")
        details = client.inspect("three")
    with FakeSupervisor() as fake:
        fake.on(Inspect, lambda _: details)
        fake.on(WaitRemoved, lambda _: ExitStatus(code=9))
        environment = {"WHERRY_RUN_DIR": fake.run_dir}
        assert ok(wherryd, "wait", "--condition", "removed", "three", env=environment) == "9\n"
        assert fake.calls[-1] == WaitRemoved(container_id=details.summary.id)
    assert "no container nosuch" in refused(wherryd, "wait", "--condition", "removed", "nosuch")


def test_what_comes_while_no_supervisor_is_there_counts(fresh_wherryd: Daemon, busybox: Path) -> None:
    """The exit of a run that goes on, and a removal."""
    daemon = fresh_wherryd
    patient = Client(daemon.run_dir, autostart=False, reconnect=PATIENCE)
    with daemon.client() as client, patient, ThreadPoolExecutor() as pool:
        ref = client.run_detached(spec(busybox, "read x; exit 3")).id
        brief = client.run_detached(spec(busybox, "read x; exit 4", auto_remove=True)).id
        pids = [client.inspect(each).pid for each in (ref, brief)]
        calls = (WaitNextExit(ref=ref), WaitNextExit(ref=brief), WaitRemoved(container_id=brief))
        with asked(daemon, calls[-1]):
            waits = [pool.submit(patient.call, call) for call in calls]
            assert wait_for(lambda: clients(daemon) >= 2 + len(calls)), "not all have asked"
        daemon.kill()
        for pid in pids:
            os.kill(pid or 0, signal.SIGKILL)
        daemon.start()
        assert [each.result(PATIENCE).signal for each in waits[:2]] == [signal.SIGKILL] * 2
        client.remove(brief)  # it would go a moment later
        assert waits[2].result(PATIENCE).signal in {signal.SIGKILL, None}, "it may have asked too late"


def clients(daemon: Daemon) -> int:
    """Return how many clients the supervisor has (proc_net_unix(5): state 3)."""
    path = str(daemon.run_dir / "control.sock")
    with open("/proc/net/unix", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return sum(fields[-1] == path and fields[5] == "03" for fields in lines)
