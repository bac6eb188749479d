"""Takes from a process that runs what it would need more of: descriptors, memory, processes."""

from __future__ import annotations

import itertools
import os
import resource
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.waiting import wait_for

from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKS = 5
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def limited(pid: int, kind: int, most: int) -> Iterator[None]:
    """Have a process's soft limit be so much (prlimit(2)) while the block runs."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


@contextmanager
def no_descriptor(pid: int, *, but: int = 0) -> Iterator[None]:
    """Have a process get no descriptor beyond those that it has, but for so many, while the block runs."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    with limited(pid, resource.RLIMIT_NOFILE, _free(pid, but)):
        for _ in range(0 if but else LOOKS):
            # What it held for a moment only, it would get again.
            time.sleep(0.03)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (_free(pid, but), hard))
        yield


def _free(pid: int, number: int) -> int:
    """Return the so many-th number that is no descriptor of a process's."""
    held = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(itertools.islice((each for each in itertools.count() if each not in held), number, None))


@contextmanager
def no_process(*pids: int) -> Iterator[None]:
    """Have processes be refused each fork, and each thread, while the block runs.

    A limit on processes binds root in a cgroup alone: in v1, whose hierarchies are apart, a process can be
    put in one without leaving its others.
    """
    parent = find_hierarchies().v1.get("pids")
    if parent is None:
        pytest.skip("no pids controller in a v1 hierarchy")
    group = Path(parent, f"wherry-test-{os.getpid()}")
    homes = {pid: _group_of(pid, parent) for pid in pids}
    group.mkdir()
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        (group / "pids.max").write_text("0", encoding="ascii")
        yield
    finally:
        (group / "pids.max").write_text("max", encoding="ascii")
        # They fork again, and what they forked ends.
        assert wait_for(lambda: _emptied(group, homes, homes[pids[0]])), "the group is not left"
        group.rmdir()


def _emptied(group: Path, homes: dict[int, Path], home: Path) -> bool:
    """Move who is in a group to where it came from; say whether nobody was there."""
    there = (group / "cgroup.procs").read_text(encoding="ascii").split()
    for pid in map(int, there):
        with suppress(ProcessLookupError):
            (homes.get(pid, home) / "cgroup.procs").write_text(str(pid), encoding="ascii")
    return not there


def _group_of(pid: int, mountpoint: str) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "pids":
            return Path(mountpoint + path)
    raise AssertionError(f"process {pid} is in no pids cgroup")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy(pid: int, seconds: float = 0.5) -> float:
    """Return which part of a processor a process uses in the next moment."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)
