"""Reads one container's counters, from its cgroups and its network namespace. What is not there is None.

Owns which file says what, on v2 and on v1. Executes nothing of the image; to be called in a thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from wherry_protocol.stats import (
    CpuStats,
    InterfaceStats,
    IoStats,
    MemoryStats,
    PidsStats,
    Pressure,
    Stats,
)
from wherryd.kernel import accounting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Place = tuple[Path, int] | None
    T = TypeVar("T")

_MICRO, _NANO = 1e-6, 1e-9
MEMORY_TOTAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a running container's counters are: its v2 cgroup, and each controller's (path, version).

    `pid` is a process in its network namespace; None when that is the machine's.
    """

    id: str
    name: str
    started_at: float
    v2: Path
    cpu: Place
    memory: Place
    pids: Place
    io: Place
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read, and when by the monotonic clock."""

    stats: Stats
    at: float


def read(source: Source) -> Reading:
    """Read everything. Raises KernelError."""
    cpu = _cpu(source)
    at, now = time.monotonic(), time.time()
    stats = Stats(
        id=source.id,
        name=source.name,
        time=now,
        cpu=cpu,
        cpu_percent=None if cpu is None else percent(cpu.seconds, now - source.started_at),
        memory=_at(source.memory, _memory_v1, _memory_v2),
        pids=_pids(source.pids),
        io=_at(source.io, _io_v1, _io_v2),
        network=None if source.pid is None else _network(source.pid),
        pressure=_pressure(source.v2),
    )
    return Reading(stats=stats, at=at)


def percent(used: float, passed: float) -> float:
    """Return the share of one processor; the clock may have been set back."""
    return max(0.0, 100 * used / passed) if passed > 0 else 0.0


def _at(place: Place, v1: Callable[[Path], T], v2: Callable[[Path], T]) -> T | None:
    if place is None:
        return None
    path, version = place
    return v1(path) if version == 1 else v2(path)


def _cpu(source: Source) -> CpuStats | None:
    """Read the v2 group's cpu.stat, which counts time with the controller and without it."""
    used = _flat(source.v2 / "cpu.stat")
    if "usage_usec" not in used:
        return None
    limits = _flat(source.cpu[0] / "cpu.stat") if source.cpu is not None else used
    throttled = limits["throttled_time"] * _NANO if "throttled_time" in limits else 0.0
    return CpuStats(
        seconds=used["usage_usec"] * _MICRO,
        user_seconds=used["user_usec"] * _MICRO,
        system_seconds=used["system_usec"] * _MICRO,
        periods=limits.get("nr_periods", 0),
        throttled_periods=limits.get("nr_throttled", 0),
        throttled_seconds=throttled or limits.get("throttled_usec", 0) * _MICRO,
    )


def _memory_v2(path: Path) -> MemoryStats | None:
    usage, stat = _number(path / "memory.current"), _flat(path / "memory.stat")
    if usage is None:
        return None
    return _memory(
        usage,
        inactive_file=stat.get("inactive_file", 0),
        limit=_limit(path / "memory.max"),
        peak=_number(path / "memory.peak"),
        anon=stat.get("anon", 0),
        file=stat.get("file", 0),
        swap=_number(path / "memory.swap.current"),
    )


def _memory_v1(path: Path) -> MemoryStats | None:
    usage, stat = _number(path / "memory.usage_in_bytes"), _flat(path / "memory.stat")
    if usage is None:
        return None
    return _memory(
        usage,
        inactive_file=stat.get("total_inactive_file", 0),
        limit=_limit(path / "memory.limit_in_bytes"),
        peak=_number(path / "memory.max_usage_in_bytes"),
        anon=stat.get("total_rss", 0),
        file=stat.get("total_cache", 0),
        swap=stat.get("total_swap"),
    )


def _memory(
    usage: int,
    *,
    inactive_file: int,
    limit: int | None,
    peak: int | None,
    anon: int,
    file: int,
    swap: int | None,
) -> MemoryStats:
    return MemoryStats(
        usage=usage,
        # The parts are counted at other moments than the sum.
        working_set=max(0, usage - inactive_file),
        limit=MEMORY_TOTAL if limit is None else min(limit, MEMORY_TOTAL),
        limited=limit is not None,
        peak=None if peak is None else max(peak, usage),
        anon=anon,
        file=file,
        swap=swap,
    )


def _pids(place: Place) -> PidsStats | None:
    """Read the pids controller, whose files are the same in both versions."""
    current = None if place is None else _number(place[0] / "pids.current")
    if place is None or current is None:
        return None
    return PidsStats(current=current, limit=_limit(place[0] / "pids.max"))


def _io_v2(path: Path) -> IoStats | None:
    text = accounting.read(f"{path}/io.stat")
    return None if text is None else _io(accounting.io_stat(text))


def _io_v1(path: Path) -> IoStats | None:
    service_bytes = accounting.read(f"{path}/blkio.throttle.io_service_bytes")
    serviced = accounting.read(f"{path}/blkio.throttle.io_serviced")
    if service_bytes is None or serviced is None:
        return None
    return _io(accounting.blkio(service_bytes, serviced))


def _io(io: accounting.Io) -> IoStats:
    return IoStats(read_bytes=io.rbytes, write_bytes=io.wbytes, reads=io.rios, writes=io.wios)


def _network(pid: int) -> Mapping[str, InterfaceStats] | None:
    text = accounting.read(f"/proc/{pid}/net/dev")
    if text is None:
        return None
    return {
        name: InterfaceStats(
            rx_bytes=each.rx_bytes, rx_packets=each.rx_packets,
            rx_errors=each.rx_errors, rx_dropped=each.rx_dropped,
            tx_bytes=each.tx_bytes, tx_packets=each.tx_packets,
            tx_errors=each.tx_errors, tx_dropped=each.tx_dropped,
        )
        for name, each in accounting.net_dev(text).items()
    }  # fmt: skip


def _pressure(v2: Path) -> Mapping[str, Pressure] | None:
    found = {name: accounting.read(f"{v2}/{name}.pressure") for name in ("cpu", "memory", "io")}
    known = {name: _stalled(accounting.pressure(text)) for name, text in found.items() if text}
    return known or None


_NEVER = accounting.Stalled(avg10=0.0, avg60=0.0, avg300=0.0, total=0)


def _stalled(lines: Mapping[str, accounting.Stalled]) -> Pressure:
    some, full = lines.get("some", _NEVER), lines.get("full", _NEVER)
    return Pressure(
        some_avg10=some.avg10, some_avg60=some.avg60, some_avg300=some.avg300,
        some_seconds=some.total * _MICRO,
        full_avg10=full.avg10, full_avg60=full.avg60, full_avg300=full.avg300,
        full_seconds=full.total * _MICRO,
    )  # fmt: skip


def _flat(path: Path) -> dict[str, int]:
    text = accounting.read(str(path))
    return {} if text is None else accounting.flat(text)


def _number(path: Path) -> int | None:
    text = accounting.read(str(path))
    return None if text is None else int(text)


def _limit(path: Path) -> int | None:
    text = accounting.read(str(path))
    return None if text is None else accounting.limit(text)
