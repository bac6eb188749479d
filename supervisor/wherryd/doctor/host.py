"""The kernel and its namespaces."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from wherryd.doctor.finding import ok, problem
from wherryd.kernel import features, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.settings import Settings

_KINDS = ("mnt", "pid", "uts", "ipc", "net", "cgroup")

_FEW = 64
"""Namespaces of a kind: fewer is somebody's lock on them, not a size."""

_TELLS_EXITS = (6, 15)
"""The first Linux whose PIDFD_GET_INFO tells the exit of a process that is somebody else's to reap."""


def look(_settings: Settings) -> Iterator[Finding]:
    """Calls, file systems, namespaces."""
    yield from _kernel()
    for kind in _KINDS:
        most = _most(kind)
        if most is not None and most < _FEW:
            name = f"user.max_{kind}_namespaces"
            text = f"{name} is {most}: so many containers there can be, at most"
            yield problem("namespaces", text, f"sysctl -w {name}=65536")


def _kernel() -> Iterator[Finding]:
    release = os.uname().release
    lacking = features.problems()
    for each in lacking:
        what, _, how = each.partition(": ")
        yield problem("kernel", f"Linux {release}: {what}", how or None)
    if not lacking:
        told = [f"Linux {release} has every call and file system that containers need"]
        if _version(release) < _TELLS_EXITS:
            told.append("before 6.15 exit codes are unknown when the launcher is killed")
        if machine.load() is None:
            told.append("starts are slower here, as memory may not execute, or for the processor")
        yield ok("kernel", "; ".join(told))


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _most(kind: str) -> int | None:
    try:
        return int(Path(f"/proc/sys/user/max_{kind}_namespaces").read_text(encoding="ascii"))
    except OSError:
        return None  # built without the limit
