"""What a restart policy says: whether a container that ended is started again, and after how long. Pure.

docker's rules and figures. An end that nobody knows the code of is a failure: it is not known to be none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict
from wherry_protocol.restarts import NO_RESTART

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.restarts import RestartPolicy
    from wherry_protocol.run_spec import RunSpec

FIRST_DELAY = 0.1
"""Seconds before the first try; each that follows waits twice as long."""

LONGEST_DELAY = 60.0
"""Seconds that no try waits longer than."""

STABLE_RUN = 10.0
"""Seconds after which a run counts as one that worked: the next delay is the first again."""

JITTER = 0.1
"""The part by which a delay may be shorter: what failed together does not come back together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """The restarts since somebody started the container: how many, and the last delay in seconds."""

    count: int = 0
    delay: float = 0.0


UNTRIED = Tries()


def check(spec: RunSpec) -> None:
    """Refuse a policy that cannot be, or not with the rest of a request. Raises BadRequest."""
    policy = spec.restart
    if policy.max_retries < 0:
        raise BadRequest(f"restart policy: {policy.max_retries} retries are below zero", hint="0: no limit")
    if policy.max_retries and policy.name != "on-failure":
        raise BadRequest(f"restart policy {policy.name}: only on-failure has a number of retries")
    if spec.auto_remove and policy.name != "no":
        raise BadRequest(
            f"restart policy {policy.name}: a container that is removed when it has ended (--rm) cannot be"
            " started again",
            hint="leave one of the two out",
        )


def check_change(name: str, spec: RunSpec, policy: RestartPolicy) -> None:
    """Refuse a change of a container's policy. Raises BadRequest, Conflict."""
    if spec.auto_remove and policy.name != "no":
        raise Conflict(
            f"container {name} is removed when it has ended (--rm): it cannot have restart policy {policy}"
        )
    check(spec.replace(restart=policy))


def failed(status: ExitStatus | None) -> bool:
    """Say whether an end counts as a failure."""
    return status is None or status.code != 0


def after_end(policy: RestartPolicy, tries: Tries, *, failure: bool, lasted: float) -> Tries | None:
    """Return the try that follows the end of a run of so many seconds; None when there is none.

    A start that came to nothing is a failure that lasted 0 seconds. Nobody has stopped the container.
    """
    if policy is NO_RESTART or not _wants(policy, tries, failure=failure):
        return None
    before = 0.0 if lasted >= STABLE_RUN else tries.delay
    return Tries(count=tries.count + 1, delay=min(before * 2 or FIRST_DELAY, LONGEST_DELAY))


def still(policy: RestartPolicy, tries: Tries, status: ExitStatus | None) -> bool:
    """Say whether a try that is to come would also come with another policy than it was decided with."""
    return _wants(policy, Tries(count=tries.count - 1), failure=failed(status))


def at_start(policy: RestartPolicy, tries: Tries, status: ExitStatus | None, *, stopped: bool) -> bool:
    """Say whether the start of the supervisor, or of the machine, starts a container that has ended."""
    if stopped:
        return policy.name == "always"
    return _wants(policy, tries, failure=failed(status))


def with_jitter(delay: float, chance: float) -> float:
    """Return how long to wait; `chance` is from 0 to 1."""
    return delay * (1 - JITTER * chance)


def _wants(policy: RestartPolicy, tries: Tries, *, failure: bool) -> bool:
    if policy.name == "on-failure":
        return failure and (policy.max_retries == 0 or tries.count < policy.max_retries)
    return policy.name != "no"
