"""The plan of a process that joins a running container: what it does before it executes its command.

Owns the value and its wire form. Nothing here acts; the launcher's process imports it.
"""

from __future__ import annotations

from wherryd.launcher.plan import Frozen, Rlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherryd.launcher.plan import Plan

JOIN = "join"
"""The first word of an order to a worker to join; that of an order to start is a container's id."""


class ExecPlan(Frozen):
    """What to do, in terms of the container's own plan; the namespaces are those of its first process.

    `streams` are those of 0, 1 and 2 that ride along with the request; the rest are a terminal or /dev/null.
    """

    id: str
    title: str
    cgroup: str
    v1_cgroups: tuple[str, ...]
    terminal: bool
    console_size: tuple[int, int] | None
    streams: tuple[int, ...]
    rlimits: tuple[Rlimit, ...]
    oom_score_adj: int | None
    umask: int
    cwd: str
    user: str
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    seccomp: bytes | None
    env: Mapping[str, str]
    args: tuple[str, ...]

    @classmethod
    def from_wire(cls, fields: Any) -> ExecPlan:
        """Build the plan and the values in it."""
        plan = super().from_wire(fields)
        plan.__dict__["rlimits"] = tuple(map(Rlimit.from_wire, plan.rlimits))
        return plan


def beside(plan: Plan, **own: Any) -> ExecPlan:
    """Return the plan of a process beside the first one: what `own` does not say is as in `plan`."""
    shared = {name: value for name, value in plan.__dict__.items() if name in ExecPlan.fields()}
    return ExecPlan(**{**shared, **own})
