"""What the kernel says of a container's limits, wherever its controllers are: the same on v1 and v2."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wherryd.cgroups.group import Group
from wherryd.cgroups.spares import SpareGroups
from wherryd.cgroups.tree import plant
from wherryd.kernel import cgroups
from wherryd.kernel.errors import KernelError

if TYPE_CHECKING:
    from support.daemon import Daemon

    from wherryd.cgroups.tree import Tree

FILES = {
    "memory": ("memory", "memory.limit_in_bytes", "memory.max"),
    "memory used": ("memory", "memory.usage_in_bytes", "memory.current"),
    "pids": ("pids", "pids.max", "pids.max"),
    "cpu": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
}
"""By what it is: the controller, the file of v1, the file of v2."""


def tree_of(daemon: Daemon) -> Tree:
    """Return where a supervisor's groups are."""
    return plant(daemon.cgroup.name, daemon.run_dir)


def one_cpu(daemon: Daemon) -> dict[str, str]:
    """Return the limit that binds to one cpu; none where the kernel has no cpuset controller."""
    there = tree_of(daemon).version_of("cpuset") is not None
    return {"cpuset_cpus": str(max(os.sched_getaffinity(0)))} if there else {}


def group_of(daemon: Daemon, container_id: str) -> Group:
    """Return a container's groups."""
    tree = tree_of(daemon)
    return Group(container_id, tree, SpareGroups(tree))


def said(daemon: Daemon, container_id: str, what: str) -> str | None:
    """Return the first word of a limit's file; None when the container is not in that controller."""
    controller, *files = FILES[what]
    found = group_of(daemon, container_id).path_of(controller)
    if found is None:
        return None
    path, version = found
    return (path / files[version - 1]).read_text(encoding="ascii").split()[0]


def members(daemon: Daemon, container_id: str, controller: str) -> set[int]:
    """Return the processes in the group that has a controller."""
    found = group_of(daemon, container_id).path_of(controller)
    assert found is not None, f"the container is not in {controller}"
    return set(map(int, (found[0] / "cgroup.procs").read_text(encoding="ascii").split()))


def cpu_seconds(daemon: Daemon, container_id: str) -> float:
    """Return the cpu time that a container has used: v2 counts it without a controller."""
    text = (daemon.cgroup / container_id / "cpu.stat").read_text(encoding="ascii")
    return int(text.split()[1]) / 1e6


def directories(daemon: Daemon) -> list[Path]:
    """Return every group of containers, in every hierarchy, but those made ahead."""
    tree = tree_of(daemon)
    parents = {tree.v2, *tree.v1.values()}
    return [
        Path(entry.path)
        for parent in parents
        if parent.is_dir()
        for entry in os.scandir(parent)
        if entry.is_dir() and not entry.name.startswith("spare-")
    ]


def withdraw(parent: Path, controllers: set[str]) -> None:
    """Have the groups below no longer have these controllers, except where somebody has passed them on since.

    Beside a test there are supervisors of others, on the same hierarchy.
    """
    for name in controllers:
        try:
            cgroups.write(f"{parent}/cgroup.subtree_control", f"-{name}")
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
