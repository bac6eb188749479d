"""A container's cgroup that somebody removes: told, and every way to its end is open all the same."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.forms import within
from support.groupkit import group_of, tree_of
from support.waiting import wait_for

from wherry import Event, KernelFailure, RunSpec
from wherry_protocol.restarts import RestartPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client

POLITE = "trap 'exit 7' TERM; sleep 1000 & echo up; while :; do usleep 10000; done"
DEAF = "trap '' TERM; sleep 1000 & echo up; while :; do usleep 10000; done"


def started(client: Client, image: Path, script: str = POLITE, **more: object) -> tuple[str, int]:
    """Return the id and the first process of a container that is up."""
    spec = RunSpec(image=str(image), command=("sh", "-c", script), stop_timeout=0.1, **more)  # type: ignore[arg-type]  # its fields
    made = client.run_detached(spec)
    assert wait_for(lambda: client.logs(made.id).endswith(b"up\n"))
    pids: list[int] = []

    def looks() -> bool:
        pids.extend(filter(None, (client.inspect(made.id).pid,)))
        return bool(pids)

    assert wait_for(looks)  # one that is started again and again has none in between
    return made.id, pids[0]


def take_away(path: Path) -> None:
    """Move everybody to the group above the supervisor's, and remove the group."""

    def removed() -> bool:
        for pid in (path / "cgroup.procs").read_text(encoding="ascii").split():
            with suppress(ProcessLookupError):
                (path.parent.parent / "cgroup.procs").write_text(pid, encoding="ascii")
        try:
            path.rmdir()
        except OSError:
            return False  # it has forked meanwhile
        return True

    assert wait_for(removed)


def place(daemon: Daemon, container: str, where: str) -> Path:
    """Return a container's group in v2, or in the hierarchy of a v1 controller."""
    if where == "v2":
        return tree_of(daemon).v2 / container
    if where not in tree_of(daemon).v1:
        pytest.skip(f"the {where} controller is in no v1 hierarchy")
    return group_of(daemon, container).v1[where]


def told(client: Client, container: str) -> list[str]:
    """Return of which groups it was told that they are lost."""
    events = [each for each in client.events(since=0, until=time.time()) if isinstance(each, Event)]
    lost = [each for each in events if each.action == "cgroup_lost" and each.actor == container]
    return [each.attributes["cgroup"] for each in lost]


@pytest.mark.parametrize("where", ["v2", "memory", "pids"])
@pytest.mark.parametrize("end", ["stop", "force", "kill", "itself"])
def test_it_is_told_and_every_end_is_open(wherryd: Daemon, busybox: Path, where: str, end: str) -> None:
    """Also for one that ignores SIGTERM; its exit is exact, and nothing is left of it."""
    with wherryd.client() as client:
        container, pid = started(client, busybox, DEAF if end in ("stop", "force") else POLITE)
        path = place(wherryd, container, where)
        take_away(path)
        assert wait_for(lambda: told(client, container), within(5)), "nobody is told"
        assert told(client, container) == [str(path)]
        began = time.monotonic()
        if end == "stop":
            assert client.stop(container).signal == signal.SIGKILL
        elif end == "force":
            client.remove(container, force=True)
        elif end == "kill":
            client.kill(container)
            assert client.wait(container).signal == signal.SIGKILL
        else:
            os.kill(pid, signal.SIGTERM)
            status = client.wait(container)
            assert status.code == 7
            assert status.oom_killed in ({None} if "memory" in (where, _v2_has(wherryd)) else {False}), status
        assert time.monotonic() - began < within(3), "it takes long"
        if end != "force":
            client.remove(container)


def _v2_has(daemon: Daemon) -> str:
    return "memory" if tree_of(daemon).version_of("memory") == 2 else ""


def test_what_is_done_through_it_says_so(wherryd: Daemon, busybox: Path) -> None:
    """In one line that names it and says what to do; the container goes on, and its next run is whole."""
    with wherryd.client() as client:
        container, _ = started(client, busybox)
        path = place(wherryd, container, "v2")
        take_away(path)
        for ask in (
            lambda: client.exec(container, ("true",)),
            lambda: client.top(container),
            lambda: client.pause(container),
        ):
            with pytest.raises(KernelFailure, match=r"removed it.*restart|restart") as raised:
                ask()
            assert "\n" not in str(raised.value)
            assert path.name in str(raised.value)
        assert client.inspect(container).summary.state == "running"
        assert client.stats(container)
        client.restart(container)
        assert client.exec(container, ("true",)).exit_code == 0
        assert len(client.top(container)) > 1
        assert path.is_dir()
        assert len(told(client, container)) == 1
        client.remove(container, force=True)


def test_one_that_is_paused_or_waits_for_its_next_start_goes_on(wherryd: Daemon, busybox: Path) -> None:
    """Whoever leaves a frozen group thaws; what is between two runs has no group to lose."""
    with wherryd.client() as client:
        script, always = "echo up; sleep 0.1; exit 3", RestartPolicy(name="always")
        container, _ = started(client, busybox, script, restart=always)
        for _ in range(2):
            with suppress(OSError):  # it has ended meanwhile
                take_away(place(wherryd, container, "v2"))
            tries = client.inspect(container).restart_count
            assert wait_for(partial(_tried_since, client, container, tries)), "it is not started again"
        client.remove(container, force=True)
        container, _ = started(client, busybox)
        client.pause(container)
        take_away(place(wherryd, container, "v2"))
        assert wait_for(lambda: told(client, container), within(5))
        client.unpause(container)
        client.stop(container)
        client.remove(container)


def _tried_since(client: Client, container: str, tries: int) -> bool:
    return client.inspect(container).restart_count > tries


def test_a_successor_tells_of_what_was_removed_meanwhile(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Once; and nothing is told of groups that we remove."""
    with fresh_wherryd.client() as client:
        container, _ = started(client, busybox)
        other, _ = started(client, busybox)
        path = place(fresh_wherryd, container, "v2")
        fresh_wherryd.kill()
        take_away(path)
        fresh_wherryd.start()
        client.stop(other)
        assert told(client, container) == [str(path)]
        assert told(client, other) == []
        client.remove(container, force=True)
        client.remove(other)
