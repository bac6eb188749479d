"""How many containers there is room for: descriptors, processes."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from wherryd.doctor.finding import ok, warning
from wherryd.kernel.capabilities import has_capability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.settings import Settings

PER_CONTAINER = 8
"""Descriptors that supervisor and launcher each hold for one, at most."""

FEW = 100
"""Containers: less room than that is worth a word."""

PROCESSES = 10_000
"""On the whole machine: fewer than that is somebody's small setting."""


def look(_settings: Settings) -> Iterator[Finding]:
    """What runs out first."""
    files = _number("fs/file-max")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = files if hard == resource.RLIM_INFINITY else min(hard, files)
    few = [*_descriptors(most), *_processes(), *_ulimits()]
    yield from few or [ok("limits", f"{most} descriptors, {_number('kernel/pid_max')} processes")]


def _descriptors(most: int) -> Iterator[Finding]:
    room = most // PER_CONTAINER
    if room < FEW:
        advice = "ulimit -Hn 1048576, or LimitNOFILE=1048576 in the unit"
        yield warning("limits", f"{most} descriptors are enough for some {room} containers", advice)


def _processes() -> Iterator[Finding]:
    for name in ("pid_max", "threads-max"):
        most = _number(f"kernel/{name}")
        if most < PROCESSES:
            yield warning("limits", f"kernel.{name} is {most}", f"sysctl -w kernel.{name}=4194304")


def _ulimits() -> Iterator[Finding]:
    if not has_capability("sys_resource"):
        text = "no CAP_SYS_RESOURCE: a container's --ulimit cannot exceed our own hard limits"
        yield warning("limits", text, "give the supervisor that capability")


def _number(name: str) -> int:
    return int(Path("/proc/sys", name).read_text(encoding="ascii"))
