"""The table of a container's processes, from its cgroup and the host's /proc. Executes nothing of the image.

What may hang is read in threads, each for a bounded time: a process that holds its memory map is shown
without its arguments, and a file system that does not answer costs the names of the users.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from wherry_protocol.errors import Conflict, KernelFailure
from wherry_protocol.processes import Process
from wherryd import journal
from wherryd.cgroups.group import gone
from wherryd.kernel.procfs import TICKS, cgroup_pids, read_cmdline, read_stat, read_status
from wherryd.processes.users import user_names
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.kernel.procfs import Stat

    T = TypeVar("T")

READ_TIMEOUT = 5.0
"""Seconds for the list of processes: ten thousand take one."""

EXTRA_TIMEOUT = 1.0
"""Seconds for what may hang."""

HUNG_MAX = 8
"""Threads that may hang at once; beyond, there are no arguments and names until one comes back."""

_PTS_MAJOR = 136
_CONSOLE = (5, 1)

_threads = trio.CapacityLimiter(HUNG_MAX)


class Row:
    """One process, as far as it has been read."""

    def __init__(self, stat: Stat, status: dict[str, str]) -> None:
        self.stat = stat
        self.uid, self.gid = (int(status[key].split()[1]) for key in ("Uid", "Gid"))
        self.inside = [int(pid) for pid in status.get("NSpid", "").split()][1:]
        self.args: tuple[str, ...] = ()

    def process(self, names: dict[int, str], now: float, uptime: float) -> Process:
        """Return the value that travels; `now` and `uptime` are the time since the epoch and the boot."""
        stat = self.stat
        age = max(uptime - stat.starttime / TICKS, 1 / TICKS)
        used = (stat.utime + stat.stime) / TICKS
        return Process(
            pid=stat.pid, ppid=stat.ppid, cpid=self.inside[0] if self.inside else None,
            uid=self.uid, gid=self.gid, user=names.get(self.uid, str(self.uid)),
            state=stat.state, comm=stat.comm, args=self.args,
            cpu_seconds=used, cpu_percent=100 * used / age, rss=stat.rss, vsize=stat.vsize,
            threads=stat.num_threads, nice=stat.nice, pgid=stat.pgrp, sid=stat.session,
            tty=tty_name(stat.tty_nr), started_at=now - age,
        )  # fmt: skip


def tty_name(number: int) -> str | None:
    """Return a terminal's name below /dev for its device number in /proc/PID/stat; None for none."""
    if number == 0:
        return None
    device = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if device[0] == _PTS_MAJOR:
        return f"pts/{device[1]}"
    return "console" if device == _CONSOLE else f"{device[0]}:{device[1]}"


async def top(container: Container, services: Services) -> tuple[Process, ...]:
    """Return a container's processes in the order of their start. Raises Conflict, KernelFailure."""
    if container.run is None or not container.alive:
        raise Conflict(f"container {container.name} is not running", hint="see 'wherry ps -a'")
    rows = await _thread(READ_TIMEOUT, partial(read_rows, str(services.cgroup_of(container.id))))
    if not rows and container.alive and not services.cgroup_of(container.id).is_dir():
        raise gone(services.cgroup_of(container.id))
    if rows is None:
        raise KernelFailure(f"container {container.name}: its processes could not be listed in time")
    names: dict[int, str] = {}
    async with open_nursery() as nursery:
        start_soon(nursery, _thread, EXTRA_TIMEOUT, partial(_add_args, rows))
        for row in rows:
            if row.stat.pid == container.pid:
                start_soon(nursery, _thread, EXTRA_TIMEOUT, partial(_add_names, names, row.stat))
    now, uptime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    rows.sort(key=lambda row: (row.stat.starttime, row.stat.pid))
    return tuple(row.process(dict(names), now, uptime) for row in rows)


async def _thread(seconds: float, function: Callable[[], T]) -> T | None:
    """Call a function that may hang; None when it was not done in time, and it goes on by itself."""
    with trio.move_on_after(seconds):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=_threads)
    return None


def read_rows(cgroup: str) -> list[Row]:
    """Read what never hangs, of every process that is still there."""
    rows: list[Row] = []
    for pid in cgroup_pids(cgroup):
        stat, status = read_stat(pid), read_status(pid)
        if stat is not None and "Uid" in status:
            rows.append(Row(stat, status))
    return rows


def _add_args(rows: list[Row]) -> None:
    for row in rows:
        row.args = read_cmdline(row.stat.pid)


def _add_names(names: dict[int, str], first: Stat) -> None:
    try:
        names.update(user_names(first))
    except OSError as error:
        journal.debug("no names of users", pid=first.pid, error=error)
