"""What takes limits away again: the kernel's own default, in the place of what was written. Pure.

Defaults are those of the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/*.rst.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wherry_protocol.limits import DEFAULT_CPU_PERIOD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherryd.cgroups.limits import Write

_DEFAULTS = {
    "cpu.max": f"max {DEFAULT_CPU_PERIOD}",
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": str(DEFAULT_CPU_PERIOD),
    "memory.low": "0",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.soft_limit_in_bytes": "-1",
    "memory.limit_in_bytes": "-1",
    "memory.memsw.limit_in_bytes": "-1",
}
"""By file. Those of disks are said for each device; of the rest none can be lifted."""


def lifts(old: Iterable[Write], new: Iterable[Write]) -> list[Write]:
    """Return what is to be written for limits that were, and are not to be any more."""
    kept = {_place(write) for write in new}
    return [replace(write, text=default_of(write)) for write in old if _place(write) not in kept]


def _place(write: Write) -> tuple[str, str, str]:
    """Return what a limit bounds: each device has a line of its own for each option."""
    return write.option, write.file, write.text.partition(" ")[0] if _of_device(write) else ""


def default_of(write: Write) -> str:
    """Return the text that says what the file says without a limit."""
    if not _of_device(write):
        return _DEFAULTS[write.file]
    number, _, setting = write.text.partition(" ")
    return f"{number} {setting.partition('=')[0]}=max" if "=" in setting else f"{number} 0"


def _of_device(write: Write) -> bool:
    return write.file == "io.max" or write.file.startswith("blkio.throttle.")


def size_of(text: str) -> float:
    """Return a size as it is written to the memory controller: "max" or "-1" is more than any."""
    return float("inf") if text in ("max", "-1") else int(text)
