"""What the supervisor asks a launcher to start, as packed messages: that half of the protocol. No IO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd.kernel.capabilities import NUMBERS
from wherryd.launcher import wire
from wherryd.launcher.exec_plan import JOIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherryd.launcher.exec_plan import ExecPlan
    from wherryd.launcher.plan import Plan


EXPECT = wire.pack("expect")


def spawn_request(plan: Plan, netns: int | None) -> tuple[bytes, tuple[int, ...]]:
    """Return the request for a container's start, and the descriptors that go with it."""
    packed = wire.pack(*plan.to_wire())
    promise = (plan.root.former, plan.root.successor)
    needs = _bits(plan.capabilities)
    request = wire.pack("spawn", plan.id, plan.cgroup, plan.stdin, plan.terminal, promise, needs, packed)
    return request, () if netns is None else (netns,)


def join_request(
    name: str,
    plan: ExecPlan,
    note: bytes,
    container: int,
    streams: Sequence[int],
    lifeline: int | None,
    *,
    brief: bool = False,
) -> tuple[bytes, tuple[int, ...]]:
    """Return the request for an exec, and the descriptors that go with it."""
    lifelines = () if lifeline is None else (lifeline,)
    _, needs, packed = _packed(plan)
    request = wire.pack("exec", name, note, bool(lifelines), brief, needs, packed)
    return request, (container, *lifelines, *streams)


def _bits(capabilities: tuple[str, ...]) -> int:
    return sum([1 << NUMBERS[name] for name in capabilities])


_last: tuple[ExecPlan, int, bytes] | None = None


def _packed(plan: ExecPlan) -> tuple[ExecPlan, int, bytes]:
    """Return a plan with what it needs and its packed form, those of the last time if it is the last one."""
    global _last  # noqa: PLW0603 - there is one wire
    if _last is None or _last[0] is not plan:
        _last = plan, _bits(plan.sandbox.capabilities), wire.pack(JOIN, *plan.to_wire())
    return _last
