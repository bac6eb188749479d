"""What of a container changes while it exists: labels, its limits, its log's, how it is stopped and started.

Owns the order: checked, then done by the kernel, then on record; what cannot go on record is undone.
"""

from __future__ import annotations

import select
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, KernelFailure, WherryError
from wherry_protocol.limits import NO_LIMITS, UNLIMITED, Limits
from wherryd.cgroups import checks, settling, weights
from wherryd.containers import config, requirements, restart_policy
from wherryd.containers.lifecycle import Phase
from wherryd.containers.telling import tell
from wherryd.kernel.errors import KernelError
from wherryd.logs.limits import LogLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.housekeeping import Update
    from wherryd.containers.container import Container, Run
    from wherryd.containers.services import Services

SETTLE_TIMEOUT = 30.0
"""Seconds for the kernel to free memory, or to move processes."""

_EITHER = (("cpu_weight", "cpu_shares"),)
"""Of these, a new one takes the place of the other."""

_LIFTED_BY = {"cpu_quota": "cpu_period", "memory": "memory_swap", "memory_reservation": None}
"""What UNLIMITED takes away, and what bounds nothing without it."""


async def update(container: Container, services: Services, wanted: Update) -> None:
    """Change a container. Raises BadRequest, Conflict, KernelFailure, NoSpace: then it is as before."""
    async with container.changing:
        limits = _merged(container.config.spec.limits, wanted.limits)
        changed = config.changed(
            container.config,
            labels=wanted.labels,
            remove_labels=wanted.remove_labels,
            stop_signal=wanted.stop_signal,
            stop_timeout=wanted.stop_timeout,
            limits=limits,
            restart=wanted.restart,
            requires=_required(container, services, wanted),
            log=wanted.log,
        )
        if wanted.restart is not None:
            restart_policy.check_change(container.name, container.config.spec, wanted.restart)
        if limits is not container.config.spec.limits:
            checks.check(limits, services.cgroups)
            if wanted.limits.io_weight is not None:
                weights.check_heeded(services.cgroups)
        undo = await _settle(container, services, limits)
        before, container.config = container.config, changed
        try:
            services.records.set_config(container)
        except BaseException:
            container.config = before
            undo()
            raise
        if changed.spec.log != before.spec.log:
            container.log.bound(LogLimits.of(changed.spec.log))
        tell(container, services, "update")
        services.restarts.policy_changed(container)


def _required(container: Container, services: Services, wanted: Update) -> tuple[str, ...] | None:
    if wanted.requires is None:
        return None
    return requirements.settled(container.name, wanted.requires, services.registry)


def _merged(old: Limits, wanted: Limits) -> Limits:
    """Return the limits with those that are said in the place of what they were."""
    if wanted.oom_score_adj is not None:
        raise BadRequest("oom_score_adj cannot be changed", hint="it is fixed when a container is made")
    said = {name: value for name, value in vars(wanted).items() if value != vars(NO_LIMITS)[name]}
    if not said:
        return old
    if said.keys() & {"cpu_quota"}:
        said.setdefault("cpu_period", None)
    for one, other in (*_EITHER, *(pair[::-1] for pair in _EITHER)):
        if one in said:
            said.setdefault(other, None)
    for name, leaning in _LIFTED_BY.items():
        if said.get(name) == UNLIMITED:
            said[name] = None
            if leaning is not None:
                said.setdefault(leaning, None)
    return old.replace(**said)


async def _settle(container: Container, services: Services, limits: Limits) -> Callable[[], None]:
    """Have the kernel do it, for the run that there is; one that begins meanwhile is changed, too."""
    undo: Callable[[], None] = _nothing
    settled: Run | None = None
    while True:
        if container.phase is Phase.STARTING:
            await container.started.wait()
        run = container.run
        if run is None or run is settled:
            return undo
        settled = run
        try:
            undo = await _bounded(container, services, limits)
        except (WherryError, KernelError):
            if not _is_over(run, container):
                raise
            # Its groups went, or are the next run's, while they were written to.


async def _bounded(container: Container, services: Services, limits: Limits) -> Callable[[], None]:
    change = partial(settling.change, services.group_of(container.id), container.config.spec.limits, limits)
    with trio.move_on_after(SETTLE_TIMEOUT):
        return await trio.to_thread.run_sync(change, abandon_on_cancel=True)
    raise KernelFailure(
        f"container {container.name}: its limits were not changed after {SETTLE_TIMEOUT:.0f} s",
        hint="the kernel is still at it: see what they are with 'wherry inspect', and try again",
    )


def _is_over(run: Run, container: Container) -> bool:
    if container.run is not run:
        return True
    with select.epoll() as poll:
        poll.register(run.pidfd, select.EPOLLIN)
        return bool(poll.poll(0))


def _nothing() -> None:
    """Undo nothing."""
