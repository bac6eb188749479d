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
def address_space(pid: int, *, but: int) -> Iterator[None]:
    """Have a process get no memory beyond what it has, but for so many bytes, while the block runs.

    As with vm.overcommit_memory=2: the kernel refuses it (ENOMEM), and Python raises MemoryError.
    """
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + but, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have ended of that
            resource.prlimit(pid, resource.RLIMIT_AS, before)


class MemoryGroup:
    """A group of the memory controller around processes of ours, and what they fork: see `memory_group`."""

    def __init__(self, path: Path, version: int) -> None:
        self._path = path
        self._limit = path / {1: "memory.limit_in_bytes", 2: "memory.max"}[version]
        self._used = path / {1: "memory.usage_in_bytes", 2: "memory.current"}[version]
        self._counts = path / {1: "memory.oom_control", 2: "memory.events"}[version]

    @contextmanager
    def limited(self, spare: int) -> Iterator[None]:
        """Let them have what they use now, and so many bytes more, while the block runs."""
        with suppress(OSError):  # what is used cannot be given back: that is little enough (EBUSY)
            used = int(self._used.read_text(encoding="ascii"))
            self._limit.write_text(str(used + spare), encoding="ascii")
        try:
            yield
        finally:
            self.lift()

    def lift(self) -> None:
        """Let there be all that they want."""
        self._limit.write_text("-1" if self._limit.name.endswith("bytes") else "max", encoding="ascii")

    @property
    def oom_kills(self) -> int:
        """How many processes of it the kernel has killed."""
        text = self._counts.read_text(encoding="ascii")
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])


@contextmanager
def memory_group(*pids: int) -> Iterator[MemoryGroup]:
    """Have processes be in a group of the memory controller of their own while the block runs."""
    found = find_hierarchies()
    version = 1 if "memory" in found.v1 else 2
    parent = found.v1.get("memory") or found.v2
    if parent is None or (version == 2 and not _enabled(parent)):
        pytest.skip("no memory controller that a group could have")
    group = Path(parent, f"wherry-test-{os.getpid()}")
    homes: dict[int, Path] = {}
    group.mkdir()
    limits = MemoryGroup(group, version)
    try:
        _enter(group, homes, pids, parent, "memory" if version == 1 else "")
        yield limits
    finally:
        limits.lift()
        assert wait_for(lambda: _emptied(group, homes, homes[pids[0]])), "the group is not left"
        group.rmdir()


def _enabled(v2: str) -> bool:
    """Have the groups at the top of v2 have the memory controller; say whether they have."""
    control = Path(v2, "cgroup.subtree_control")
    with suppress(OSError):
        control.write_text("+memory", encoding="ascii")
    return "memory" in control.read_text(encoding="ascii").split()


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
    homes: dict[int, Path] = {}
    group.mkdir()
    try:
        _enter(group, homes, pids, parent, "pids")
        (group / "pids.max").write_text("0", encoding="ascii")
        yield
    finally:
        (group / "pids.max").write_text("max", encoding="ascii")
        # They fork again, and what they forked ends.
        assert wait_for(lambda: _emptied(group, homes, homes[pids[0]])), "the group is not left"
        group.rmdir()


def _enter(group: Path, homes: dict[int, Path], pids: tuple[int, ...], top: str, controller: str) -> None:
    """Move processes into a group, and note where they were; who is replaced meanwhile is forked in there."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # a worker has its time
            homes[pid] = _group_of(pid, top, controller)
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")


def _emptied(group: Path, homes: dict[int, Path], home: Path) -> bool:
    """Move who is in a group to where it came from; say whether nobody was there."""
    there = (group / "cgroup.procs").read_text(encoding="ascii").split()
    for pid in map(int, there):
        with suppress(ProcessLookupError):
            (homes.get(pid, home) / "cgroup.procs").write_text(str(pid), encoding="ascii")
    return not there


def _group_of(pid: int, mountpoint: str, controller: str) -> Path:
    """Return a process's group: in the v1 hierarchy of a controller, or in v2 (no name)."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(mountpoint + path)
    raise AssertionError(f"process {pid} is in no cgroup of the controller {controller!r}")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy(pid: int, seconds: float = 0.5) -> float:
    """Return which part of a processor a process uses in the next moment."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)
