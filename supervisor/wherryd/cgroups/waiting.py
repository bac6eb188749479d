"""Waiting on a container's cgroup from the event loop, and what is done to all of its processes at once.

cgroup.events is always readable: the kernel tells of a change by EPOLLPRI only, and the event loop waits for
readable things. So each wait has an epoll instance of its own, registered for EPOLLPRI and itself readable
when that comes. Waits are rare (pause, and ends that leave stragglers), so none is kept between them.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, KernelFailure
from wherryd.cgroups.group import gone
from wherryd.kernel import cgroups
from wherryd.kernel.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherryd.kernel.cgroups import CgroupEvents

LOOK_AGAIN = 0.05
"""Seconds after which a wait looks without being told: the kernel holds changes back that follow each other
within 10 ms, and forgets what it held back when the cgroup is removed meanwhile."""

FREEZE_TIMEOUT = 10.0
"""Seconds; a process in an uninterruptible sleep can hold a freeze up for ever."""


async def wait_events(path: Path, reached: Callable[[CgroupEvents], bool]) -> None:
    """Wait until cgroup.events says what `reached` looks for, or the cgroup is gone."""
    try:
        events = cgroups.open_events(str(path))
    except KernelError as error:
        if error.errno in cgroups.GONE:
            return
        raise
    try:
        with select.epoll() as poll:
            poll.register(events, select.EPOLLPRI)
            try:
                while not reached(cgroups.read_events(events)):
                    with trio.move_on_after(LOOK_AGAIN):
                        await trio.lowlevel.wait_readable(poll.fileno())
                    poll.poll(0)
            finally:
                trio.lowlevel.notify_closing(poll.fileno())
    except KernelError as error:
        if error.errno not in cgroups.GONE:
            raise
    finally:
        os.close(events)


async def wait_empty(path: Path, seconds: float) -> bool:
    """Wait until no process is left in a cgroup; False when `seconds` were not enough."""
    if not cgroups.populated(str(path)):
        return True
    with trio.move_on_after(seconds):
        await wait_events(path, lambda events: not events.populated)
        return True
    return False


async def freeze(path: Path, wanted: Callable[[], bool]) -> None:
    """Stop every process; returns when all stand still, or it is not wanted any more.

    Raises Conflict (it ended), KernelFailure.
    """
    if not _write(path, "cgroup.freeze", "1"):
        if wanted():
            raise gone(path)
        raise Conflict("the container ended before it could be paused")
    with trio.move_on_after(FREEZE_TIMEOUT):
        await wait_events(path, lambda events: events.frozen or not events.populated or not wanted())
        return
    raise KernelFailure(
        f"cgroup.freeze {path}: not frozen after {FREEZE_TIMEOUT:.0f} s",
        hint="a process waits for a disk or device and cannot be stopped now",
        errno=errno.ETIMEDOUT,
        path=str(path),
    )


def thaw(path: Path) -> None:
    """Let frozen processes go on. Raises KernelFailure."""
    _write(path, "cgroup.freeze", "0")


def kill_all(path: Path) -> None:
    """SIGKILL every process of a cgroup, however they fork; no group is fine. Raises KernelFailure."""
    try:
        cgroups.cgroup_kill(str(path))
    except KernelError as error:
        raise KernelFailure(str(error), errno=error.errno, path=str(path)) from error


def _write(path: Path, file: str, text: str) -> bool:
    """Write a cgroup file; False when the cgroup is gone."""
    try:
        cgroups.write(f"{path}/{file}", text)
    except KernelError as error:
        if error.errno in cgroups.GONE:
            return False
        raise KernelFailure(str(error), errno=error.errno, path=str(path)) from error
    return True
