"""Where groups go on real hierarchies: a delegated subtree, a root with processes; kills by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.groupkit import withdraw

from wherryd.cgroups.tree import Tree, plant
from wherryd.kernel import cgroups
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

PLANT = """
import os, sys
from pathlib import Path
from wherryd.cgroups.tree import plant
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
print(plant("wherry-here", Path("/nowhere")).v2)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A v2 group of this test's own, whose parent gives it what there is."""
    mounted = Path(find_hierarchies().v2 or "")
    path = mounted / f"wherry-test-places-{os.getpid()}"
    cgroups.create(str(path))
    yield path
    cgroups.cgroup_kill(str(path))
    deadline = time.monotonic() + 5
    while cgroups.populated(str(path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    cgroups.remove(str(path))


def sleeper(group: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "100"])
    cgroups.write(f"{group}/cgroup.procs", str(process.pid))
    return process


def planted_by(group: Path) -> Path:
    """Where a supervisor that runs in a group would put its own."""
    done = subprocess.run(
        [sys.executable, "-c", PLANT, group], check=True, capture_output=True, text=True, cwd="/"
    )
    return Path(done.stdout.strip())


def test_a_delegated_subtree_is_respected(group: Path) -> None:
    """Systemd marks the group of a unit with Delegate=yes; ours go below it, also from a leaf of the unit."""
    assert planted_by(group) == group.parent / "wherry-here"
    os.setxattr(group, "user.delegate", b"1")
    assert planted_by(group) == group / "wherry-here"
    leaf = group / "supervisor"
    leaf.mkdir()
    assert planted_by(leaf) == group / "wherry-here"


def test_processes_of_the_root_are_moved_when_the_kernel_demands_it(group: Path) -> None:
    """No group has both processes and controllers for others: they get a leaf, and come back at the end."""
    available = cgroups.read(f"{group.parent}/cgroup.controllers").split()
    assert available, "cgroup v2 has no controller at all here"
    name = available[0]
    before = cgroups.read(f"{group.parent}/cgroup.subtree_control").split()
    cgroups.write(f"{group.parent}/cgroup.subtree_control", f"+{name}")
    process = sleeper(group)
    try:
        found = find_hierarchies()
        tree = Tree("w", found, group, {}, Path("/nowhere"))
        (group / "w").mkdir()
        tree.enable((name,))
        assert name in cgroups.read(f"{group}/w/cgroup.subtree_control").split()
        assert cgroups.read(f"{group}/w.self/cgroup.procs").split() == [str(process.pid)]
        tree.close()
        assert cgroups.read(f"{group}/cgroup.procs").split() == [str(process.pid)]
        assert [entry.name for entry in os.scandir(group) if entry.is_dir()] == []
    finally:
        process.kill()
        process.wait()
        withdraw(group.parent, {name} - {*before})


def test_what_forks_is_killed_where_the_kernel_has_no_cgroup_kill(group: Path) -> None:
    """Freeze, signal each, thaw: nothing outlives it, however it forks."""
    heads = "f() { sleep 0.01; f & }; for i in 1 2 3 4 5 6 7 8 9 10; do f & done"
    script = f"echo $$ > {group}/cgroup.procs; {heads}; while :; do sleep 1; done"
    with subprocess.Popen(["sh", "-c", script]) as process:
        deadline = time.monotonic() + 10
        while len(cgroups.read(f"{group}/cgroup.procs").split()) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        cgroups.kill_each(str(group))
        assert process.wait(5) == -9
    while cgroups.populated(str(group)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not cgroups.populated(str(group))


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    """To find out where groups go changes nothing."""
    tree = plant("wherry-never", tmp_path)
    assert not tree.v2.exists()
    assert not any(path.exists() for path in tree.v1.values())
