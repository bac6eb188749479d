"""Where limits, OOM kills and the killing of whole containers come from: control groups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherryd.cgroups.tree import V1_NAMES
from wherryd.doctor.finding import ok, problem, warning
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.kernel.hierarchies import Hierarchies
    from wherryd.settings import Settings

_CONTROLLERS = {
    "cpu": "--cpus and -c are refused",
    "cpuset": "--cpuset-cpus is refused",
    "io": "--device-read-bps and its like are refused",
    "memory": "-m is refused, and OOM kills are unknown",
    "pids": "--pids-limit is refused: a fork bomb is not contained",
}
"""By v2 name: what follows from its absence."""


def look(settings: Settings) -> Iterator[Finding]:
    """The hierarchies, and each controller that a limit needs."""
    found = find_hierarchies()
    yield _unified(found, settings)
    yield from (
        warning("cgroups", f"no controller {name}: {effect}", _advice(name, found))
        for name, effect in _CONTROLLERS.items()
        if not _usable(name, found)
    )
    yield from _own_limits(found)


def _unified(found: Hierarchies, settings: Settings) -> Finding:
    if found.v2 is None:
        place = settings.run_dir / "cgroup2"
        return ok("cgroups", f"v2 is mounted nowhere: a supervisor mounts it at {place}")
    if not os.access(found.v2, os.W_OK) or (found.unified and found.unified.read_only):
        return problem(
            "cgroups", f"v2 at {found.v2} is read-only", f"mount -o remount,rw {found.v2}, or run on the host"
        )
    there = [name for name in _CONTROLLERS if _usable(name, found)]
    legacy = [name for name in there if name not in found.v2_controllers]
    through = f"; {', '.join(legacy)} through v1" if legacy else ""
    unified = ", ".join(name for name in there if name not in legacy)
    return ok("cgroups", f"v2 at {found.v2}{f' with {unified}' if unified else ''}{through}")


def _usable(name: str, found: Hierarchies) -> bool:
    hierarchy = found.legacy.get(V1_NAMES.get(name, name))
    return name in found.v2_controllers or (hierarchy is not None and not hierarchy.read_only)


def _advice(name: str, found: Hierarchies) -> str:
    if name in found.legacy:
        return "its hierarchy is mounted read-only: remount it"
    if name == "memory":
        return "boot with cgroup_enable=memory, or a kernel with CONFIG_MEMCG"
    config = {"cpu": "CFS_BANDWIDTH", "cpuset": "CPUSETS", "io": "BLK_CGROUP", "pids": "CGROUP_PIDS"}[name]
    return f"a kernel with CONFIG_{config}, or a group to which it was delegated"


def _own_limits(found: Hierarchies) -> Iterator[Finding]:
    """Whatever limits our own group limits every container, where they go below it."""
    if found.unified is None or not found.unified.own:
        return
    group = found.unified.mountpoint + found.unified.own
    for name in ("pids.max", "memory.max"):
        limit = _read(f"{group}/{name}")
        if limit not in ("", "max"):
            advice = (
                "TasksMax=infinity in the unit" if name == "pids.max" else "MemoryMax=infinity in the unit"
            )
            yield warning("cgroups", f"the group of this process has {name} {limit}", advice)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
