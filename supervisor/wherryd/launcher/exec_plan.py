"""The plan of a process that joins a running container: what it does before it executes its command.

Owns the value and its wire form. Nothing here acts; the launcher's process imports it.
"""

from __future__ import annotations

from wherryd.launcher import wire
from wherryd.launcher.plan import Frozen, Rlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherryd.launcher.plan import Plan

JOIN = "join"
"""The first word of an order to a worker to join; that of an order to start is a container's id."""


class Sandbox(Frozen):
    """What every process of a container has in common, in terms of the container's own plan.

    `memory_bounded`: its cgroup may run out of memory while the rest of the machine has some.
    """

    title: str
    cgroup: str
    v1_cgroups: tuple[str, ...]
    rlimits: tuple[Rlimit, ...]
    oom_score_adj: int | None
    umask: int
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    seccomp: bytes | None
    memory_bounded: bool

    @classmethod
    def of(cls, plan: Plan, *, memory_bounded: bool = True) -> Sandbox:
        """Return that of a container."""
        fields = {name: plan.__dict__[name] for name in cls.fields() if name in plan.__dict__}
        return cls(**fields, memory_bounded=memory_bounded)

    @classmethod
    def from_wire(cls, fields: Any) -> Sandbox:
        """Build it and the values in it."""
        sandbox = super().from_wire(fields)
        sandbox.__dict__["rlimits"] = tuple(map(Rlimit.from_wire, sandbox.rlimits))
        return sandbox


class ExecPlan(Frozen):
    """What to do; the namespaces are those of the container's first process.

    `streams` are those of 0, 1 and 2 that ride along with the request; the rest are a terminal or /dev/null.
    Who executes one command in a container executes more: on the wire its sandbox is bytes, and
    both ends keep what the last ones were made from.
    """

    id: str
    sandbox: Sandbox
    terminal: bool
    console_size: tuple[int, int] | None
    streams: tuple[int, ...]
    cwd: str
    user: str
    env: Mapping[str, str]
    args: tuple[str, ...]

    def to_wire(self) -> list[Any]:
        """Return the fields in order."""
        identity, _, *own = super().to_wire()
        return [identity, _packed(self.sandbox), *own]

    @classmethod
    def from_wire(cls, fields: Any) -> ExecPlan:
        """Build the plan; its sandbox is the very one of the plan before, if it is equal."""
        identity, sandbox, *own = fields
        return super().from_wire((identity, _unpacked(sandbox), *own))


_last_packed: tuple[Sandbox, bytes] | None = None
_last_unpacked: tuple[bytes, Sandbox] | None = None


def _packed(sandbox: Sandbox) -> bytes:
    global _last_packed  # noqa: PLW0603 - there is one wire
    if _last_packed is None or _last_packed[0] is not sandbox:
        _last_packed = sandbox, wire.pack(*sandbox.to_wire())
    return _last_packed[1]


def _unpacked(data: bytes) -> Sandbox:
    global _last_unpacked  # noqa: PLW0603 - as above
    if _last_unpacked is None or _last_unpacked[0] != data:
        _last_unpacked = data, Sandbox.from_wire(wire.unpack(data))
    return _last_unpacked[1]


def beside(plan: Plan, **own: Any) -> ExecPlan:
    """Return the plan of a process beside the first one: what `own` does not say is as in `plan`."""
    like_the_first: dict[str, Any] = {name: plan.__dict__[name] for name in _LIKE_THE_FIRST}
    fields: dict[str, Any] = {**like_the_first, "sandbox": Sandbox.of(plan), **own}
    return ExecPlan(**fields)


_LIKE_THE_FIRST = ("id", "terminal", "console_size", "cwd", "user", "env", "args")
