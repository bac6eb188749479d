"""What the supervisor says of itself and its host: `version` and `info`."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol import PROTOCOL_VERSION
from wherry_protocol.system import Controller, SystemInfo, VersionInfo
from wherryd import __version__
from wherryd.kernel.capabilities import has_capability

if TYPE_CHECKING:
    from wherry_protocol.container_state import State
    from wherryd.cgroups.tree import Tree
    from wherryd.containers.manager import Manager


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is found out once at the start. `warnings` are lines for a person."""

    pid: int
    started_at: float
    tree: Tree
    warnings: tuple[str, ...]


def find_facts(tree: Tree) -> Facts:
    """Look at the host."""
    return Facts(
        pid=os.getpid(),
        started_at=time.time(),
        tree=tree,
        warnings=tuple(_warnings(tree)),
    )


def version_info() -> VersionInfo:
    """Return the answer to `version`."""
    return VersionInfo(
        version=__version__,
        protocol=PROTOCOL_VERSION,
        python=platform.python_version(),
        kernel=os.uname().release,
    )


def system_info(facts: Facts, manager: Manager) -> SystemInfo:
    """Return the answer to `info`."""
    services = manager.services
    found = facts.tree.hierarchies
    states = Counter(container.summary().state for container in services.registry)
    mounted = [(name, "v2", str(facts.tree.base)) for name in sorted(facts.tree.controllers)]
    mounted += [(name, "v1", path) for name, path in found.v1.items()]
    return SystemInfo(
        version=__version__,
        pid=facts.pid,
        launcher_pid=services.launcher.pid,
        started_at=facts.started_at,
        state_dir=str(services.settings.state_dir),
        run_dir=str(services.settings.run_dir),
        kernel=os.uname().release,
        python=platform.python_version(),
        cgroup_mode=found.mode,
        cgroup_path=str(services.cgroups.v2),
        controllers=tuple(
            Controller(name=name, hierarchy=hierarchy, mountpoint=path) for name, hierarchy, path in mounted
        ),
        containers={state: states.get(state, 0) for state in _STATES},
        images=len(services.images.list()),
        warnings=(*facts.warnings, *services.networks.notes, *map(_draining, services.launcher.draining)),
    )


_STATES: tuple[State, ...] = ("created", "running", "paused", "restarting", "exited")


def _draining(pid: int) -> str:
    return f"launcher {pid} is of another release: it keeps its containers, and ends with the last of them"


_WITHOUT = {"memory": ": OOM kills are unknown"}
"""What follows from a controller that is nowhere, other than that its limits are refused."""


def _warnings(tree: Tree) -> list[str]:
    warnings = [
        f"{tree.why_missing(name)}{_WITHOUT.get(name, '')}"
        for name in ("cpu", "cpuset", "io", "memory", "pids")
        if tree.version_of(name) is None
    ]
    if not has_capability("sys_resource"):
        warnings.append("no CAP_SYS_RESOURCE: hard limits of ulimits cannot be raised")
    return warnings
