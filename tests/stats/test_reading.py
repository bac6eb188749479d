"""From a container's files to its numbers, on both versions of cgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry_protocol.stats import CpuStats, IoStats, MemoryStats, PidsStats, Stats
from wherryd.stats.looking import since
from wherryd.stats.reading import MEMORY_TOTAL, Reading, Source, read

if TYPE_CHECKING:
    from pathlib import Path

USED = "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnice_usec 0\n"
V2 = {
    "cpu.stat": USED + "nr_periods 10\nnr_throttled 4\nthrottled_usec 300000\nnr_bursts 0\nburst_usec 0\n",
    "memory.current": "5000\n", "memory.peak": "9000\n", "memory.max": "10000\n",
    "memory.swap.current": "70\n", "memory.stat": "anon 3000\nfile 1500\ninactive_file 1000\nshmem 10\n",
    "pids.current": "3\n", "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    "memory.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=2000000\n",
}  # fmt: skip
V1 = {
    "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 300000000\n",
    "memory/memory.usage_in_bytes": "5000\n", "memory/memory.max_usage_in_bytes": "9000\n",
    "memory/memory.limit_in_bytes": "10000\n",
    "memory/memory.stat": "total_rss 3000\ntotal_cache 1500\ntotal_inactive_file 1000\ntotal_swap 70\n",
    "pids/pids.current": "3\n", "pids/pids.max": "max\n",
    "blkio/blkio.throttle.io_service_bytes": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
    "blkio/blkio.throttle.io_serviced": "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
    "v2/cpu.stat": USED, "v2/memory.pressure": V2["memory.pressure"],
}  # fmt: skip


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def source(folder: Path, version: int) -> Source:
    def place(name: str) -> tuple[Path, int]:
        return (folder, 2) if version == 2 else (folder / name, 1)

    return Source(
        id="ab" * 32, name="web", started_at=0.0, v2=folder if version == 2 else folder / "v2", pid=None,
        cpu=place("cpu"), memory=place("memory"), pids=place("pids"), io=place("blkio"),
    )  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_say_the_same(tmp_path: Path, version: int) -> None:
    write(tmp_path, V2 if version == 2 else V1)
    stats = read(source(tmp_path, version)).stats
    assert stats.cpu == CpuStats(
        seconds=2.5, user_seconds=2.0, system_seconds=0.5,
        periods=10, throttled_periods=4, throttled_seconds=pytest.approx(0.3),
    )  # fmt: skip
    assert stats.memory == MemoryStats(
        usage=5000, working_set=4000, limit=10000, limited=True, peak=9000, anon=3000, file=1500, swap=70
    )
    assert stats.memory.percent == 40.0
    assert stats.pids == PidsStats(current=3, limit=None)
    assert stats.io == IoStats(read_bytes=1, write_bytes=2, reads=3, writes=4)
    assert stats.network is None
    assert stats.pressure is not None
    assert (stats.pressure["memory"].some_avg10, stats.pressure["memory"].some_seconds) == (1.5, 2.0)


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_not_there_is_none(tmp_path: Path, version: int) -> None:
    stats = read(source(tmp_path, version)).stats
    assert (stats.cpu, stats.memory, stats.pids, stats.io, stats.pressure) == (None,) * 5
    assert stats.cpu_percent is None


def test_no_limit_is_the_machines_memory(tmp_path: Path) -> None:
    write(tmp_path, {**V2, "memory.max": "max\n"})
    memory = read(source(tmp_path, 2)).stats.memory
    assert memory is not None
    assert (memory.limit, memory.limited) == (MEMORY_TOTAL, False)


def test_parts_that_moved_between_two_reads_are_no_nonsense(tmp_path: Path) -> None:
    """The kernel sums the parts at another moment than the whole."""
    write(tmp_path, {**V2, "memory.peak": "1\n", "memory.stat": "inactive_file 6000\n"})
    memory = read(source(tmp_path, 2)).stats.memory
    assert memory is not None
    assert (memory.working_set, memory.peak) == (0, 5000)


def look(seconds: float, at: float) -> Reading:
    stats = Stats(id="a", name="a", time=at, cpu=CpuStats(seconds=seconds), cpu_percent=7.0)
    return Reading(stats=stats, at=at)


def test_the_share_of_the_processors_is_that_between_two_looks() -> None:
    assert since(look(1.0, 10.0), look(1.5, 12.0)).cpu_percent == 25.0
    assert since(None, look(1.5, 12.0)).cpu_percent == 7.0, "nothing to compare with: over its life"
    assert since(look(9.0, 10.0), look(0.1, 12.0)).cpu_percent == 7.0, "it was started again in between"
