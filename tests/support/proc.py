"""What /proc says of processes; each read may find that one has just ended."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INIT = 1
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One life of a process id: `started` is in clock ticks since boot."""

    pid: int
    started: int
    parent: int
    state: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}, state {self.state})"


def process(pid: int) -> Process | None:
    """Return the process of this id, if there is one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return None
    head, _, tail = stat.rpartition(") ")
    fields = tail.split()
    return Process(
        pid=pid, name=head.partition("(")[2], state=fields[0], parent=int(fields[1]), started=int(fields[19])
    )


def everyone() -> list[Process]:
    """Return all processes."""
    found = (process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [each for each in found if each is not None]


def descendants(*roots: int) -> list[Process]:
    """Return the processes with these ids and everything below them."""
    known, everybody = set(roots), sorted(everyone(), key=lambda each: each.started)
    # A child starts after its parent, but within a clock tick their order is open: look twice.
    for each in everybody * 2:
        if each.parent in known:
            known.add(each.pid)
    return [each for each in everybody if each.pid in known]


def alive(life: Process) -> bool:
    """Say whether this life goes on: a reused id is another life. What init has yet to reap has ended."""
    now = process(life.pid)
    return now is not None and now.started == life.started and (now.state, now.parent) != ("Z", INIT)


def descriptors(pid: int) -> Counter[str]:
    """Count a process's descriptors by what they are: `socket`, `/path`, `anon_inode:[eventfd]` …"""
    kinds: Counter[str] = Counter()
    with suppress(*_GONE):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(*_GONE):
                kind = re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/{pid}/fd/{fd}"))
                # Of which process is chance: a worker that replaces another holds the same of its own.
                kinds[re.sub(r"^/proc/\d+/", "/proc/N/", kind)] += 1
    return kinds


def socket_paths(below: Path) -> list[str]:
    """Return the paths below a directory that some Unix socket is still bound to."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = (line.split(" ")[-1] for line in lines)
    return sorted({path for path in paths if path.startswith(f"{below}/")})
