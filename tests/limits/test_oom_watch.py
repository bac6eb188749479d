"""When OOM kills begin to be watched, and that a run is never told of another's."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing
from support.forms import within
from support.groupkit import group_of, tree_of

from wherry import RunSpec
from wherry.errors import Conflict, WherryError
from wherry_protocol.limits import NO_LIMITS, Limits
from wherryd.cgroups.group import Group
from wherryd.cgroups.spares import SpareGroups
from wherryd.containers.oom import OomWatch
from wherryd.containers.oom_verdict import OomState
from wherryd.kernel import cgroups
from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.kernel.pidfd import pidfd_open

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

    from wherryd.containers.container import Container
    from wherryd.containers.services import Services

MIB = 1 << 20
HOG = "sh -c 'x=a; while :; do x=$x$x; done'"
HIERARCHIES = find_hierarchies()
pytestmark = pytest.mark.skipif(
    "memory" not in HIERARCHIES.v2_controllers and "memory" not in HIERARCHIES.v1,
    reason="no memory controller in any cgroup hierarchy",
)


def notices(daemon: Daemon) -> int:
    """Count what a supervisor holds to be told of kills: a file of v2, or an eventfd of v1."""
    links: list[str] = []
    for each in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            links.append(os.readlink(each))
    return sum(link.endswith("/memory.events") or "eventfd" in link for link in links)


def limited(image: Path, *command: str) -> RunSpec:
    return RunSpec(image=str(image), command=command, network="none", limits=Limits(memory=64 * MIB))


def test_a_memory_limit_is_watched_from_before_the_start(fresh_wherryd: Daemon, busybox: Path) -> None:
    """As soon as its first process is, nobody need have asked; and a start that fails leaves no watch."""
    before = notices(fresh_wherryd)
    with fresh_wherryd.client() as client:
        made = client.run_detached(limited(busybox, "sleep", "100"))
        assert notices(fresh_wherryd) == before + 1
        with pytest.raises(WherryError):
            client.run(limited(busybox, "/no/such"))
        assert notices(fresh_wherryd) == before + 1
        client.remove(made.id, force=True)
        assert notices(fresh_wherryd) == before


@pytest.fixture
def group(wherryd: Daemon) -> Iterator[Group]:
    """A container's groups that no supervisor knows of, with the least of limits."""
    tree = tree_of(wherryd)
    made = Group(f"by-hand-{os.getpid()}", tree, SpareGroups(tree))
    made.make(Limits(memory=4 * MIB, memory_swap=4 * MIB))
    yield made
    for path in (made.v2, *made.v1.values()):
        cgroups.cgroup_kill(str(path))
        cgroups.remove(str(path))


def put(group: Group, command: str) -> subprocess.Popen[bytes]:
    """Start a process in a container's groups."""
    files = [f"{path}/cgroup.procs" for path in (group.v2, *group.v1.values())]
    joins = "".join(f"echo $$ >{file}; " for file in files)
    return subprocess.Popen(["sh", "-c", f"{joins}exec {command}"])


async def test_a_kill_before_the_container_is_known_to_run_is_told_when_it_is(group: Group) -> None:
    """The supervisor may hear of a child's death before it hears that the first process has begun."""
    told: list[tuple[str, dict[str, str]]] = []
    container: Any = SimpleNamespace(
        id=group.container_id,
        name="early",
        run=None,
        pid=None,
        oom=OomState(told=7),  # of the run before
        config=SimpleNamespace(spec=SimpleNamespace(labels={}), image=SimpleNamespace(reference="i")),
    )
    heard = trio.Event()

    def emit(_kind: str, action: str, _id: str, facts: dict[str, str]) -> None:
        told.append((action, facts))
        heard.set()

    services: Any = SimpleNamespace(
        events=SimpleNamespace(emit=emit, tally=SimpleNamespace(oom_kills={"child": 0})),
        records=SimpleNamespace(save=lambda _container: None),
    )
    await _die_early(cast("Container", container), cast("Services", services), group, heard)
    assert [(action, facts["scope"], facts["kills"]) for action, facts in told] == [("oom", "child", "1")]


async def _die_early(container: Any, services: Any, group: Group, heard: trio.Event) -> None:
    watch = OomWatch()
    first = put(group, "sleep 100")
    try:
        async with trio.open_nursery() as nursery:
            watch.watch_start(container, group)
            nursery.start_soon(watch.run, services)
            child = put(group, HOG)
            assert await trio.to_thread.run_sync(child.wait) == -9
            await trio.testing.wait_all_tasks_blocked(0.2)
            container.pid, container.oom = first.pid, OomState()
            container.run = SimpleNamespace(pidfd=pidfd_open(first.pid))
            with watch.watching(container, group), trio.fail_after(within(10)):
                await heard.wait()
            os.close(container.run.pidfd)
            nursery.cancel_scope.cancel()
    finally:
        watch.close()
        first.kill()
        first.wait()


def test_a_run_never_begins_in_the_groups_of_another(wherryd: Daemon, busybox: Path) -> None:
    """What is stuck in the kernel keeps its group, counts and all: the start says so, and works then."""
    with wherryd.client() as client:
        made = client.create(limited(busybox, "true")).id
        path = group_of(wherryd, made).v2
        path.mkdir()
        with subprocess.Popen(["sleep", "100"]) as stuck:
            try:
                cgroups.write(f"{path}/cgroup.procs", str(stuck.pid))
                with pytest.raises(Conflict, match=rf"stuck in the kernel \({stuck.pid}\)"):
                    client.start(made)
            finally:
                stuck.kill()
        assert client.inspect(made).summary.state == "created"
        client.start(made)
        assert client.wait(made).code == 0
        client.remove(made)


def test_counts_of_a_group_that_was_left_are_not_a_new_ones(group: Group) -> None:
    """Also where only the memory group of v1 was left: it is made anew."""
    child = put(group, HOG)
    assert child.wait() == -9
    place = group.path_of("memory")
    assert place is not None
    cgroups.remove(str(group.v2))
    group.make(NO_LIMITS)
    file = "memory.oom_control" if place[1] == 1 else "memory.events"
    assert "oom_kill 0" in (place[0] / file).read_text(encoding="ascii").splitlines()
