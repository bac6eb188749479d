"""What a container requires: started first, healthy first, never in a circle, not removed under it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from restartkit import SERVE, policy, spec, state, wait_state, wait_up
from support.waiting import wait_for

from wherry import BadRequest, Conflict, HealthCheck, NotFound, RunSpec
from wherryd.containers.requirements import check_cycle

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def probe(line: str, **more: object) -> HealthCheck:
    return HealthCheck(test=("CMD-SHELL", line), interval=0.05, timeout=5.0, **more)  # type: ignore[arg-type]  # its fields


def test_a_start_starts_what_it_requires_and_waits_until_that_is_healthy(
    wherryd: Daemon, busybox: Path
) -> None:
    """Through a chain, in order, and twice the same only once."""
    with wherryd.client() as client, wherryd.client() as other:
        slow = probe("test -e /ready", retries=1000)
        client.create(spec(busybox, SERVE, name="store"))
        client.create(spec(busybox, SERVE, name="db", health=slow, requires=("store",)))
        client.create(spec(busybox, SERVE, name="web", requires=("db",)))
        client.create(spec(busybox, SERVE, name="api", requires=("db", "store")))
        starts = [threading.Thread(target=c.start, args=(n,)) for c, n in ((client, "web"), (other, "api"))]
        for thread in starts:
            thread.start()
        with wherryd.client() as third:
            wait_state(third, "db", "running")
            assert wait_for(lambda: (health := third.inspect("db").health) and health.log)
            assert (state(third, "web"), state(third, "api"), state(third, "store")) == (
                "created", "created", "running",
            )  # fmt: skip
            third.exec("db", ["touch", "/ready"])
        for thread in starts:
            thread.join(20)
        assert {state(client, name) for name in ("store", "db", "web", "api")} == {"running"}
        (web,) = client.list(filters=[("name", "web")])
        assert web.requires == ("db",)
        assert client.inspect("db").restart_count == 0


def test_run_waits_too_and_leaves_nothing_when_it_cannot(wherryd: Daemon, busybox: Path) -> None:
    """The error says which one is not healthy, and why."""
    with wherryd.client() as client:
        client.create(spec(busybox, SERVE, name="db", health=probe("echo no disk; exit 1", retries=1)))
        with pytest.raises(Conflict) as caught:
            client.run_detached(spec(busybox, SERVE, name="web", requires=("db",)))
        assert str(caught.value).startswith(
            "container web requires db, which is unhealthy: its last probe ended with 1: no disk"
        )
        assert client.list(all=True, filters=[("name", "web")]) == ()
        client.create(RunSpec(image=str(busybox), command=("/nothing",), name="broken"))
        done = wherryd.cli("run", "--requires", "broken", busybox, "true")
        assert done.exit_code == 125
        assert "requires broken, which could not be started" in done.stderr
        client.run_detached(spec(busybox, "exit 3", name="short"))
        client.wait("short")
        done = wherryd.cli("run", "-n", "after", "--requires", "short", busybox, "echo", "hi")
        assert (done.exit_code, done.stdout) in ((0, "hi\n"), (125, "")), done
        assert "which ended" in done.stderr or done.exit_code == 0


def test_the_names_of_what_is_required_follow_a_rename(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        first = client.create(spec(busybox, SERVE, name="one"))
        client.create(spec(busybox, SERVE, name="two", requires=(first.id[:12],)))
        client.rename("one", "uno")
        assert client.inspect("two").spec.requires == ("uno",)
        client.start("two")
        assert state(client, "uno") == "running"


def test_what_is_required_is_not_removed_without_force(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.create(spec(busybox, SERVE, name="db", labels={"mine": ""}))
        client.create(spec(busybox, SERVE, name="web", requires=("db",), labels={"mine": ""}))
        with pytest.raises(Conflict, match="container db is required by web"):
            client.remove("db")
        client.remove("db", force=True)
        with pytest.raises(NotFound, match="web requires db, which does not exist"):
            client.start("web")
        client.create(spec(busybox, SERVE, name="db", labels={"mine": ""}))
        client.start("web")
        for name in ("web", "db"):
            client.stop(name, 0)
        assert len(client.prune_containers(filters=[("label", "mine")]).removed) == 2, "and pruned in order"


def test_several_are_removed_whatever_order_they_are_given_in(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.create(spec(busybox, SERVE, name="a"))
        client.create(spec(busybox, SERVE, name="b", requires=("a",)))
        client.create(spec(busybox, SERVE, name="c", requires=("b",)))
    done = wherryd.cli("rm", "a", "b", "c")
    assert (done.exit_code, sorted(done.stdout.split()), done.stderr) == (0, ["a", "b", "c"], "")


def test_a_cycle_is_refused_and_named(wherryd: Daemon, busybox: Path) -> None:
    """At create, at update and at rename."""
    with wherryd.client() as client:
        client.create(spec(busybox, SERVE, name="a"))
        client.create(spec(busybox, SERVE, name="b", requires=("a",)))
        client.create(spec(busybox, SERVE, name="c", requires=("b",)))
        with pytest.raises(BadRequest, match="that is a cycle: a → c → b → a"):
            client.update("a", requires=["c"])
        with pytest.raises(BadRequest, match="cannot require itself"):
            client.update("a", requires=["a"])
        with pytest.raises(NotFound, match="requires nobody"):
            client.update("a", requires=["nobody"])
        assert client.inspect("a").spec.requires == ()
        client.remove("a", force=True)
        with pytest.raises(BadRequest, match="cycle"):
            client.rename("c", "a")
        with pytest.raises(BadRequest, match="cycle"):
            client.create(spec(busybox, SERVE, name="a", requires=("c",)))
        assert wherryd.cli("update", "--requires", "", "b").exit_code == 0
        client.rename("c", "a")
        assert client.inspect("b").spec.requires == ()


@pytest.mark.parametrize(
    ("graph", "start", "cyclic"),
    [
        ({}, "a", False), ({"a": ("b", "c"), "b": ("d",), "c": ("d",)}, "a", False),
        ({"a": ("a",)}, "a", True), ({"a": ("b",), "b": ("c",), "c": ("a",)}, "b", True),
        ({"a": ("b",), "b": ("c",), "c": ("b",)}, "a", False),
    ],
)  # fmt: skip
def test_only_a_circle_through_the_start_is_one(
    graph: dict[str, tuple[str, ...]], start: str, cyclic: bool
) -> None:
    try:
        check_cycle(start, graph)
    except BadRequest:
        assert cyclic
    else:
        assert not cyclic


def test_a_policy_starts_nothing_that_somebody_stopped(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.run_detached(spec(busybox, SERVE, name="db"))
        client.run_detached(spec(busybox, SERVE, name="web", requires=("db",), restart=policy("always")))
        wait_up(client, "web")
        client.stop("db", 0)
        client.kill("web", "USR1")
        assert wait_for(lambda: "requires db, which was stopped" in (client.inspect("web").start_error or ""))
        assert state(client, "db") == "exited"
        client.start("db")
        wait_state(client, "web", "running")
