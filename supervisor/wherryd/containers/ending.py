"""How a container that runs is brought to its end: by a signal, by force. Waits for the task that owns it."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, InternalError, KernelFailure
from wherry_protocol.restarts import NO_RESTART
from wherryd import journal
from wherryd.cgroups.waiting import kill_all
from wherryd.containers import stuck
from wherryd.containers.freezing import unpause
from wherryd.containers.lifecycle import Phase
from wherryd.containers.telling import tell
from wherryd.kernel import failpoints
from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import pidfd_send_signal

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.containers.container import Container, Run
    from wherryd.containers.services import Services

STUCK_AFTER = 5.0
"""Seconds after SIGKILL from which on processes that wait in the kernel are told of as stuck there."""

KILL_TIMEOUT = 15.0
"""Seconds for a container to end after SIGKILL that is busy with that: a large memory takes its time."""


async def stop(
    container: Container, services: Services, timeout: float | None, *, for_good: bool = True
) -> None:
    """Stop signal, `timeout` seconds (None: the container's own), SIGKILL; returns when it has ended.

    `for_good`: it is somebody's wish, which its restart policy respects.
    """
    if for_good and container.active:
        mark_stopped(container, services)
    if container.phase is Phase.STARTING:
        await container.started.wait()
    if container.phase is Phase.RESTARTING and for_good:
        tell(container, services, "stop")
        services.restarts.give_up(container)
    if not container.alive:
        return
    container.stopping = True
    seconds = container.config.spec.stop_timeout if timeout is None else timeout
    if seconds != 0:
        send_signal(container, services, container.config.stop_signal)
        failpoints.hit("stop.signal")
        if container.phase is Phase.PAUSED:
            unpause(container, services)
    with trio.move_on_after(seconds if seconds >= 0 else float("inf")):
        await container.ended.wait()
        return
    failpoints.hit("stop.kill")
    await _kill_all(container, services)


async def force(container: Container, services: Services) -> None:
    """Kill it; whoever reads its files is cut off."""
    if container.active:
        mark_stopped(container, services)
    if container.phase is Phase.STARTING:
        await container.started.wait()
    if container.readers:
        await container.readers.cut_off()
    if container.phase is Phase.RESTARTING:
        services.restarts.give_up(container)
    if container.alive:
        await _kill_all(container, services)


def mark_stopped(container: Container, services: Services) -> None:
    """Take note that somebody wants it stopped, before it is: a crash in between changes nothing of that."""
    container.restart.stopped = True
    if container.config.spec.restart is not NO_RESTART:
        services.records.save(container)


def kill(container: Container, services: Services, number: int) -> None:
    """Send a signal that somebody asked for. Raises Conflict when it does not run.

    What is to end the container does so for good. One that waits for its next start has nobody to signal.
    """
    if number in (signal.SIGKILL, container.config.stop_signal):
        if container.active:
            mark_stopped(container, services)
        if container.phase is Phase.RESTARTING:
            services.restarts.give_up(container)
            return
    send_signal(container, services, number)


async def _kill_all(container: Container, services: Services) -> None:
    container.oom.ours = True
    cgroup = services.cgroup_of(container.id)
    kill_all(cgroup)
    if container.run is not None:
        _kill_first(container.run)
    tell(container, services, "kill", {"signal": str(int(signal.SIGKILL))})
    with trio.move_on_after(STUCK_AFTER):
        await container.ended.wait()
        return
    _check_stuck(container, cgroup)
    with trio.move_on_after(KILL_TIMEOUT - STUCK_AFTER):
        await container.ended.wait()
        return
    _check_stuck(container, cgroup)
    raise InternalError(
        f"container {container.name} did not end {KILL_TIMEOUT:.0f} s after SIGKILL",
        hint="see 'ps -eo pid,stat,wchan' for what it is at",
    )


def _kill_first(run: Run) -> None:
    """Kill the first process, and so all of its pid namespace: they may have been moved to other groups."""
    try:
        pidfd_send_signal(run.pidfd, signal.SIGKILL)
    except KernelError as error:
        if error.errno != errno.ESRCH:
            raise KernelFailure(str(error), errno=error.errno) from error


def _check_stuck(container: Container, cgroup: Path) -> None:
    """Raises KernelFailure when processes of it wait in the kernel, where no signal reaches them."""
    found = stuck.look(str(cgroup))
    if found is None:
        return
    journal.error("container is stuck in the kernel", id=container.id, name=container.name, processes=found)
    raise KernelFailure(
        f"container {container.name} is stuck in the kernel since it got SIGKILL: {found}",
        hint="it ends by itself, and is told as ended, when the disk or device that it waits for answers",
    )


def send_signal(container: Container, services: Services, number: int) -> None:
    """Send a signal to the first process. Raises Conflict when it does not run."""
    run = container.run
    if run is None or not container.alive:
        raise Conflict(f"container {container.name} is not running", hint="see 'wherry ps -a'")
    container.oom.ours = container.oom.ours or number == signal.SIGKILL
    try:
        pidfd_send_signal(run.pidfd, number)
    except KernelError as error:
        if error.errno != errno.ESRCH:
            raise KernelFailure(str(error), errno=error.errno) from error
        # It has ended; its task is about to record that.
        journal.debug("signal came after the end", id=container.id, signal=number)
    else:
        tell(container, services, "kill", {"signal": str(number)})
