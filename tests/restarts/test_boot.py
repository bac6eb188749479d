"""What a new supervisor starts, in which order; and what is left of a state after the machine went down."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from restartkit import SERVE, policy, spec, state, wait_state, wait_up
from support.forms import within
from support.reboot import database, go_down, gone
from support.waiting import wait_for

from wherry import HealthCheck
from wherry_protocol.event_log import Event

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client


def starts(client: Client, place: int) -> list[str]:
    with client.events(after=place, until=time.time(), filters=[("event", "start")]) as events:
        return [
            each.attributes["name"] for each in events if isinstance(each, Event) and each.type == "container"
        ]


def waits(client: Client, name: str) -> bool:
    """Say whether one waits for a try that is not to come before the supervisor is killed."""
    found = client.inspect(name)
    next_try = found.summary.next_start_at or 0
    return found.restart_count >= 4 and next_try - time.time() > within(0.15)


def test_after_the_machine_went_down_policies_are_obeyed_in_order(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """Nothing runs that did; whoever has the process id of one of ours now is not touched."""
    daemon, always, unless = fresh_wherryd, policy("always"), policy("unless-stopped")
    probe = HealthCheck(test=("CMD-SHELL", "true"), interval=0.3, timeout=5.0)
    with daemon.client() as client:
        client.run_detached(spec(busybox, SERVE, name="none"))
        client.run_detached(spec(busybox, SERVE, name="failing", restart=policy("on-failure")))
        client.create(spec(busybox, SERVE, name="never", restart=always))
        for name, restart in (("stopped-always", always), ("stopped-unless", unless)):
            client.run_detached(spec(busybox, SERVE, name=name, restart=restart))
            client.stop(name, 0)
        client.run_detached(spec(busybox, "exit 0", name="tries", restart=always))
        client.run_detached(spec(busybox, SERVE, name="db", health=probe))
        client.run_detached(spec(busybox, SERVE, name="api", restart=unless, requires=("db",)))
        client.run_detached(spec(busybox, SERVE, name="web", restart=always, requires=("api",)))
        none = client.inspect("none")
        place = client.last_event()
    go_down(daemon)
    neighbour = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        with database(daemon) as store, store.transaction():
            (status,) = [status for each, _, _, status in store.containers() if each == none.summary.id]
            store.set_status(none.summary.id, {**status, "pid": neighbour})
        daemon.start()
        with daemon.client() as client:
            for name in ("db", "api", "web", "failing", "stopped-always"):
                wait_state(client, name, "running")
            assert wait_for(lambda: client.inspect("tries").restart_count >= 1)
            order = starts(client, place)
            assert order.index("db") < order.index("api") < order.index("web")
            assert (state(client, "never"), state(client, "stopped-unless")) == ("created", "exited")
            left = client.inspect("none")
            assert (left.summary.state, left.pid) == ("exited", None)
            assert left.summary.exit is not None
            assert left.summary.exit.exit_code is None
            assert left.summary.exit.error == "the machine went down while it ran"
            assert (none.summary.started_at or 0) <= (left.summary.finished_at or 0)
            client.remove("tries", force=True)
        assert not gone(neighbour), "a process that has the id of a dead container's was killed"
    finally:
        os.kill(neighbour, signal.SIGKILL)
        os.waitpid(neighbour, 0)


def test_a_killed_supervisors_successor_goes_on_waiting(fresh_wherryd: Daemon, busybox: Path) -> None:
    """The time of the next try is on record; what ran runs on, and what was stopped stays so."""
    daemon, always = fresh_wherryd, policy("always")
    with daemon.client() as client:
        client.run_detached(spec(busybox, SERVE, name="runs", restart=always))
        client.run_detached(spec(busybox, SERVE, name="halted", restart=policy("unless-stopped")))
        client.stop("halted", 0)
        waiting = {
            name: client.run_detached(spec(busybox, "exit 1", name=name, restart=always)).id
            for name in ("soon", "late")
        }
        assert wait_for(lambda: all(waits(client, name) for name in waiting))
        pid = client.inspect("runs").pid
        client.rename("halted", "stopped")  # writes at once, and all that waits to be written with it
    daemon.kill()
    with database(daemon) as store, store.transaction():
        for container_id, name, _, status in store.containers():
            if name in waiting:
                assert status["phase"] == "restarting"
                # As if they had waited long already: on a slow machine the test would take as long.
                due, next_start_at = time.monotonic() + (0.2 if name == "soon" else 50), time.time() + 50
                restart = {**status["restart"], "due": due, "tries": [9, 51.2]}
                store.set_status(container_id, {**status, "restart": restart})
    daemon.start()
    with daemon.client() as client:
        assert client.inspect("runs").pid == pid
        assert state(client, "stopped") == "exited"
        assert wait_for(lambda: client.inspect("soon").restart_count == 10)
        late = client.inspect("late")
        assert (late.summary.state, late.restart_count) == ("restarting", 9)
        assert abs((late.summary.next_start_at or 0) - next_start_at) < 1
        client.stop("late")
        assert state(client, "late") == "exited"


def test_stopping_all_goes_in_the_reverse_order_and_comes_back(fresh_wherryd: Daemon, busybox: Path) -> None:
    """--stop-containers is nobody's stop of a container."""
    daemon = fresh_wherryd
    daemon.terminate()
    daemon.start("--stop-containers")
    slow = "trap 'sleep 0.3; exit 0' TERM; echo up; while :; do read -t 9 x; done"
    with daemon.client() as client:
        client.run_detached(spec(busybox, SERVE, name="db", restart=policy("unless-stopped")))
        client.run_detached(spec(busybox, slow, name="web", restart=policy("always"), requires=("db",)))
        wait_up(client, "web")
        client.run_detached(spec(busybox, SERVE, name="mine", restart=policy("unless-stopped")))
        client.stop("mine", 0)
        place = client.last_event()
    assert daemon.terminate() == 0
    daemon.start()
    with daemon.client() as client:
        with client.events(after=place, until=time.time(), filters=[("event", "die")]) as events:
            died = [
                each.attributes["name"]
                for each in events
                if isinstance(each, Event) and each.type == "container"
            ]
        assert died == ["web", "db"]
        for name in ("db", "web"):
            wait_state(client, name, "running")
        assert state(client, "mine") == "exited"
