"""Ending an exec whose client is gone: the process, and everything that it started and that knows it still.

That is: its descendants, and all of the sessions that it or they began. A process that made itself a daemon
(a session of its own, its parents gone) is the container's from then on, as under docker.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wherryd.kernel.errors import KernelError
from wherryd.kernel.pidfd import pidfd_open, pidfd_send_signal
from wherryd.kernel.procfs import cgroup_pids, read_stat

if TYPE_CHECKING:
    from wherryd.kernel.procfs import Stat

ROUNDS = 50
"""How often to look for what was forked before its parent was killed; more is a fork bomb."""

_SIGKILL = 9


def kill_kin(cgroup: str, pid: int) -> bool:
    """Kill process `pid` of a cgroup and its kin; False when they fork faster than we kill.

    Reads all of the cgroup's processes: call it in a thread. Raises KernelError.
    """
    known, killed = {pid}, set[int]()
    for _ in range(ROUNDS):
        found = map(read_stat, cgroup_pids(cgroup))
        alive: list[Stat] = [stat for stat in found if stat is not None]
        new = [stat for stat in _kin(alive, known) if stat.pid not in killed and not stat.ended]
        if not new:
            return True
        for stat in new:
            # It forks no more: fork(2) fails while a signal is pending.
            _kill(stat)
            killed.add(stat.pid)
    return False


def _kin(alive: list[Stat], known: set[int]) -> list[Stat]:
    """Return those that are known, or whose parent or session is; `known` grows by them."""
    kin: list[Stat] = []
    rest: list[Stat] = alive
    while True:
        found: list[Stat] = [each for each in rest if known & {each.pid, each.ppid, each.session}]
        if not found:
            return kin
        kin += found
        known.update(stat.pid for stat in found)
        rest = [stat for stat in rest if stat.pid not in known]


def _kill(stat: Stat) -> None:
    """Kill this very process: its id may be another's by now."""
    try:
        pidfd = pidfd_open(stat.pid)
    except KernelError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return
        raise
    try:
        now = read_stat(stat.pid)
        if now is not None and now.starttime == stat.starttime:
            pidfd_send_signal(pidfd, _SIGKILL)
    except KernelError as error:
        if error.errno != errno.ESRCH:
            raise
    finally:
        os.close(pidfd)
