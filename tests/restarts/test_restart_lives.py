"""Restart policies of real containers: what starts again, what a stop means, and what others see of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from restartkit import SERVE, actions, policy, spec, state, wait_state, wait_up
from support.asking import asked
from support.waiting import wait_for

from wherry import Conflict, NotFound, Output, RunSpec
from wherry_protocol.containers import Wait

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client


def inspect(daemon: Daemon, name: str) -> dict[str, Any]:
    (document,) = json.loads(daemon.cli("inspect", name).stdout)
    found: dict[str, Any] = document
    return found


def test_on_failure_tries_so_often_and_then_stays_ended(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        place = client.last_event()
        client.run_detached(spec(busybox, "echo run; exit 3", name="tries", restart=policy("on-failure", 2)))
        wait_state(client, "tries", "exited")
        found = client.inspect("tries")
        assert (found.restart_count, found.summary.exit and found.summary.exit.code) == (2, 3)
        assert client.logs("tries") == b"run\n" * 3, "every run writes to the same log"
        run = ["start", "die"]
        assert actions(client, place, "tries") == ["create", *run, "back_off", *run, "back_off", *run]


def test_on_failure_lets_success_be(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.run_detached(spec(busybox, "exit 0", name="good", restart=policy("on-failure")))
        assert client.wait("good").code == 0
        assert state(client, "good") == "exited"


def keep_waiting(client: Client, image: Path, name: str) -> None:
    """Have a container that waits for its next try, also on a slow machine: what it requires was stopped."""
    client.run_detached(spec(image, SERVE, name=f"{name}-db"))
    client.run_detached(spec(image, SERVE, name=name, requires=(f"{name}-db",), restart=policy("always")))
    wait_up(client, name)
    client.stop(f"{name}-db", 0)
    client.kill(name, "USR1")
    assert wait_for(lambda: client.inspect(name).restart_count >= 2)


def test_a_waiting_container_says_so(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        keep_waiting(client, busybox, "w")
        (row,) = [each for each in client.list() if each.name == "w"]
        assert (row.state, row.requires) == ("restarting", ("w-db",))
        assert client.info().containers["restarting"] == 1
        assert row.next_start_at is not None
        assert row.exit is not None
        assert row.exit.code == 5
        for refused in (client.pause, client.remove):
            with pytest.raises(Conflict, match="w is restarting: it cannot be"):
                refused("w")
        with pytest.raises(Conflict, match="not running"):
            client.exec("w", ["true"])
        assert row.id not in client.prune_containers(filters=[("label!", "x")]).removed
        assert "Restarting (5)" in wherryd.cli("ps", "-f", "name=w").stdout
        assert inspect(wherryd, "w")["State"]["Restarting"] is True


@pytest.mark.parametrize("way", ["stop", "kill", "update"])
def test_a_waiting_container_can_be_made_to_stay_ended(wherryd: Daemon, busybox: Path, way: str) -> None:
    with wherryd.client() as client:
        keep_waiting(client, busybox, "w")
        match way:
            case "stop":
                assert client.stop("w").code == 5
            case "kill":
                client.kill("w")
            case _:
                client.update("w", restart=policy("no"))
        found = client.inspect("w")
        assert (found.summary.state, found.summary.next_start_at) == ("exited", None)
        assert client.wait("w").code == 5


@pytest.mark.parametrize("way", ["start", "restart", "rm"])
def test_a_waiting_container_can_be_started_and_removed(wherryd: Daemon, busybox: Path, way: str) -> None:
    with wherryd.client() as client:
        keep_waiting(client, busybox, "w")
        if way == "rm":
            client.remove("w", force=True)
            with pytest.raises(NotFound):
                client.inspect("w")
            return
        (client.start if way == "start" else client.restart)("w")
        found = client.inspect("w")
        assert (found.summary.state, found.restart_count, found.start_error) == ("running", 0, None)
        assert state(client, "w-db") == "running", "somebody wants it, and so what it requires"


@pytest.mark.parametrize("end", ["stop", "kill", "TERM"])
def test_a_users_stop_is_respected(wherryd: Daemon, busybox: Path, end: str) -> None:
    with wherryd.client() as client:
        client.run_detached(spec(busybox, SERVE, name="svc", restart=policy("always")))
        wait_up(client, "svc")
        match end:
            case "stop":
                client.stop("svc")
            case "kill":
                client.kill("svc")
            case signal:
                client.kill("svc", signal)
        assert client.wait("svc") is not None
        assert (state(client, "svc"), client.inspect("svc").restart_count) == ("exited", 0)


def test_another_signal_is_no_stop(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.run_detached(spec(busybox, SERVE, name="svc", restart=policy("unless-stopped")))
        wait_up(client, "svc")
        client.kill("svc", "USR1")
        assert wait_for(lambda: client.inspect("svc").restart_count == 1)
        wait_state(client, "svc", "running")


def test_wait_and_attach_end_with_the_run_and_logs_go_on(wherryd: Daemon, busybox: Path) -> None:
    """As docker: `wait` tells of the next end; a follower of the log sees all runs, each byte once."""
    script = "read -r code; echo $code; exit $code"
    with wherryd.client() as client, wherryd.client() as other:
        made = client.run_detached(spec(busybox, script, name="three", restart=policy("always")))
        with other.log_stream(made.id, follow=True) as lines:
            followed = iter(lines)
            for code in ("5", "6", "7"):
                wait_state(client, made.id, "running")
                with asked(wherryd, Wait(ref=made.id)) as waits:
                    with client.attach_stream(made.id) as stream:
                        events = iter(stream)
                        next(events)
                        with open(stream.take_fd(), "wb", buffering=0) as stdin:
                            stdin.write(f"{code}\n".encode())
                        printed = b"".join(each.data for each in events if isinstance(each, Output))
                        assert stream.answer.code == int(code)
                    assert printed == f"{code}\n".encode()
                    assert waits.answer().code == int(code)
                assert next(followed).data == f"{code}\n".encode()
            client.stop(made.id, 0)
            assert list(followed) == [], "the follower ends when nothing more is to come"


def test_an_attached_run_ends_with_its_own_output_also_for_a_slow_reader(
    wherryd: Daemon, busybox: Path
) -> None:
    """Later runs write to the same log: none of that is this client's."""
    script = "head -c 3000000 /dev/zero; exit 9"
    with wherryd.client() as client, wherryd.client() as other:
        with client.run_stream(spec(busybox, script, name="slow", restart=policy("always"))) as stream:
            events = iter(stream)
            next(events)
            assert wait_for(lambda: other.inspect("slow").restart_count >= 2)
            got = sum(len(each.data) for each in events if isinstance(each, Output))
            assert stream.answer.code == 9
        assert got == 3_000_000
        other.remove("slow", force=True)


def test_a_try_that_fails_is_told_and_followed_by_another(
    wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """What it mounts is gone for a while; a first start that fails is not tried again."""
    source = tmp_path / "data"
    source.mkdir()
    with wherryd.client() as client:
        place = client.last_event()
        volume = f"{source}:/data"
        run = (
            "run",
            "-d",
            "-n",
            "v",
            "--restart",
            "always",
            "-v",
            volume,
            str(busybox),
            "sh",
            "-c",
            "sleep 1",
        )
        assert wherryd.cli(*run).exit_code == 0
        source.rename(tmp_path / "elsewhere")
        assert wait_for(lambda: client.inspect("v").start_error)
        assert str(source) in (client.inspect("v").start_error or "")
        assert wherryd.cli("inspect", "--format", "{{.State.Error}}", "v").stdout.count(str(source)) == 1
        (tmp_path / "elsewhere").rename(source)
        assert wait_for(lambda: state(client, "v") == "running")
        assert client.inspect("v").start_error is None
        assert "restart_failed" in actions(client, place, "v")
        client.remove("v", force=True)
        source.rmdir()
        done = wherryd.cli(*run)
        assert (done.exit_code, client.list(all=True, filters=[("name", "v")])) == (125, ())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--restart", "sometimes"], "restart policy 'sometimes' is unknown"),
        (["--restart", "on-failure:-1"], "'-1' is no number of retries"),
        (["--restart", "always:3"], "only on-failure has a number of retries"),
        (["--restart", "always", "--rm"], "--rm"),
        (["--requires", "nobody"], "requires nobody: there is no such container"),
        (["--requires", "a/b"], "malformed"),
        (["--name", "me", "--requires", "me"], "container me cannot require itself"),
    ],
)
def test_bad_options_are_refused_with_one_line_and_nothing_is_left(
    wherryd: Daemon, busybox: Path, options: list[str], says: str
) -> None:
    before = wherryd.container_ids()
    for verb in (["run", "-d"], ["create"]):
        done = wherryd.cli(*verb, *options, str(busybox), "true")
        assert (done.exit_code, done.stdout) == (125, "")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    assert wherryd.container_ids() == before


def test_the_command_line_shows_and_changes_it(wherryd: Daemon, busybox: Path) -> None:
    create = ("create", "-n", "shown", "--restart", "on-failure:9", str(busybox), "false")
    assert wherryd.cli(*create).exit_code == 0
    wanted = {"Name": "on-failure", "MaximumRetryCount": 9}
    assert inspect(wherryd, "shown")["HostConfig"]["RestartPolicy"] == wanted
    assert wherryd.cli("update", "--restart", "always:2", "shown").exit_code == 125
    assert wherryd.cli("update", "--restart", "unless-stopped", "shown").stdout == "shown\n"
    wanted = {"Name": "unless-stopped", "MaximumRetryCount": 0}
    assert inspect(wherryd, "shown")["HostConfig"]["RestartPolicy"] == wanted


def test_a_container_that_is_removed_at_its_end_cannot_get_a_policy(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.create(RunSpec(image=str(busybox), command=("true",), name="gone", auto_remove=True))
        with pytest.raises(Conflict, match="--rm"):
            client.update("gone", restart=policy("always"))
