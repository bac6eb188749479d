"""What containers use, in docker's words and field names.

Owns the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

from wherry.docker_form import SHORT_ID
from wherry.human import binary_size, human_size
from wherry_protocol.typed import TYPE_CHECKING, cast
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry_protocol.stats import MemoryStats, Pressure, Stats

NOTHING = "--"
"""What cannot be known, as docker shows it."""

_UNKNOWN = (None, None)


def stats_row(stats: Stats, *, whole: bool = False) -> dict[str, Any]:
    """Return a row of `stats`: docker's fields, and ours after them."""
    memory, io = stats.memory, stats.io
    identity = stats.id if whole else stats.id[:SHORT_ID]
    return {
        "Container": identity,
        "ID": identity,
        "Name": stats.name,
        "CPUPerc": _percent(stats.cpu_percent),
        "MemUsage": _pair(binary_size, *((memory.working_set, memory.limit) if memory else _UNKNOWN)),
        "MemPerc": _percent(memory.percent if memory else None),
        "NetIO": _pair(human_size, stats.rx_bytes, stats.tx_bytes),
        "BlockIO": _pair(human_size, *((io.read_bytes, io.write_bytes) if io else _UNKNOWN)),
        "PIDs": NOTHING if stats.pids is None else str(stats.pids.current),
        "MemPeak": _peak(memory),
        "PIDsLimit": _pids_limit(stats),
        "Pressure": _pressures(stats),
    }


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}%"


def _pair(form: Callable[[float], str], first: int | None, second: int | None) -> str:
    return " / ".join(NOTHING if value is None else form(value) for value in (first, second))


def _peak(memory: MemoryStats | None) -> str:
    return NOTHING if memory is None or memory.peak is None else binary_size(memory.peak)


def _pids_limit(stats: Stats) -> str:
    if stats.pids is None:
        return NOTHING
    return "unlimited" if stats.pids.limit is None else str(stats.pids.limit)


def _pressures(stats: Stats) -> str:
    """Return the share of the last ten seconds in which some process waited: processors, memory, disk."""
    if stats.pressure is None:
        return NOTHING
    return " / ".join(_share(stats.pressure.get(name)) for name in ("cpu", "memory", "io"))


def _share(pressure: Pressure | None) -> str:
    return NOTHING if pressure is None else f"{pressure.some_avg10:.0f}%"


def stats_document(stats: Stats, *, whole: bool = True) -> dict[str, Any]:
    """Return a row's fields, and below them the numbers as the client's Stats has them."""
    return {**stats_row(stats, whole=whole), "Stats": _numbers(stats)}


def _numbers(stats: Stats) -> dict[str, Any]:
    """Return every number; what has its default is written, too: programs look for it."""
    return {name: _plain(value) for name, value in vars(stats).items() if name not in ("id", "name")}


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return {key: _plain(each) for key, each in vars(value).items()}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
    return round(value, 6) if isinstance(value, float) else value
