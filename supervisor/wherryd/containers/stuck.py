"""Which processes of a container wait in the kernel, where no SIGKILL ends them (state D), and for what.

Owns the words. Reads of /proc only what never waits for a process; at most MOST of them, as the event loop
waits meanwhile.
"""

from __future__ import annotations

from wherryd.kernel.procfs import cgroup_pids, read_stat, read_wchan

MOST = 64
NAMED = 3
"""Processes that are looked at, and that are named."""


def look(cgroup: str) -> str | None:
    """Return which they are; None when there are none."""
    found = [stat for pid in cgroup_pids(cgroup)[:MOST] if (stat := read_stat(pid)) and stat.state == "D"]
    if not found:
        return None
    named = [_named(stat.pid, stat.comm) for stat in found[:NAMED]]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(named) + more


def _named(pid: int, comm: str) -> str:
    wchan = read_wchan(pid)
    return f"process {pid} ({comm})" + (f" waits in {wchan}" if wchan else "")
