"""How a run comes to its end: its first process, then all that it left, then its output and the last counts.

Owns the order and how long each step may take. Removes nothing: what is read here can be read again by the
next supervisor until the end is on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.container_state import ExitStatus
from wherryd import journal
from wherryd.cgroups.waiting import kill_all, wait_empty
from wherryd.containers.oom import UNWATCHED, last_kills
from wherryd.containers.oom_verdict import verdict
from wherryd.kernel import failpoints

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.cgroups.group import Group
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Exit

DRAIN_GRACE = 0.5
"""Seconds that the pipes may stay open after the last process of the cgroup is gone: somebody outside holds
them, and the end is reported within a second all the same."""

EMPTY_GRACE = 0.05
"""Seconds for the cgroup to empty by itself once the first process is gone: the kernel kills the rest."""

EMPTY_TIMEOUT = 10.0
"""Seconds to wait for killed processes; what is left then is stuck in the kernel (state D)."""


async def end_of(container: Container, services: Services) -> tuple[ExitStatus, float | None]:
    """Wait for the end, of the first process and then of everything that it left; return how and when.

    `when` is as the launcher saw it, who watches also while there is no supervisor; None if it did not.
    """
    group = services.group_of(container.id)
    ended = await _wait_exit(container, services, group)
    failpoints.hit("end.exited")
    await _end_stragglers(container, group.v2)
    found = verdict(ended, last_kills(group), container.oom)
    container.oom.fresh = found.fresh
    await _drain(container)
    failpoints.hit("end.drained")
    known = ended.code is not None or ended.signal is not None
    status = ExitStatus(
        code=ended.code,
        signal=ended.signal,
        oom_killed=found.oom_killed,
        oom_kills=found.oom_kills,
        oom_victim=found.oom_victim,
        error=None if known else "nobody saw how it ended: the launcher was gone",
    )
    return status, ended.at


async def _wait_exit(container: Container, services: Services, group: Group) -> Exit:
    if not services.oom.watches_start(container):
        with trio.move_on_after(UNWATCHED):
            return await services.launcher.wait_exit(container.id)
    with services.oom.watching(container, group):
        return await services.launcher.wait_exit(container.id)


async def _end_stragglers(container: Container, cgroup: Path) -> None:
    """Wait for what the first process left; what does not go by itself is killed."""
    if not await wait_empty(cgroup, EMPTY_GRACE):
        kill_all(cgroup)
        if not await wait_empty(cgroup, EMPTY_TIMEOUT):
            journal.error("processes are stuck in the kernel", id=container.id, cgroup=cgroup)


async def _drain(container: Container) -> None:
    """Wait until the log has every byte; not for a pipe held open outside, nor for a full disk."""
    log = container.log
    if log.finished:
        return
    with trio.move_on_after(DRAIN_GRACE):
        await log.wait_drained()
        return
    log.detach_stragglers()
    with trio.move_on_after(DRAIN_GRACE):
        await log.wait_drained()
