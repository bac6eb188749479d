"""What limits may say: refused here before anything is made, in one line that names what was asked for.

Looks at the machine (its cpus, its devices), changes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wherry_protocol.errors import BadRequest, Unsupported
from wherry_protocol.limits import DEFAULT_CPU_PERIOD, UNLIMITED
from wherryd.cgroups.limits import ALWAYS, SHARES, WEIGHTS, controllers_of, rates_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry_protocol.limits import Limits
    from wherryd.cgroups.tree import Tree

MEMORY_MIN = 128 << 10
"""Bytes; measured: the smallest static program never starts with less."""

QUOTA_MIN = 1000
"""Microseconds; the kernel's own least (sched-bwc.rst)."""

PERIODS = (1000, 1_000_000)
PIDS_MAX = 4_194_304
"""PID_MAX_LIMIT of 64-bit kernels."""

OOM_SCORES = (-1000, 1000)
_SIZE_MAX = 1 << 62
_CPU_LIST = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How many cpus and bytes of memory there are for us, and which cpus and nodes one may be bound to."""

    cpus: int
    memory: int
    cpuset_cpus: frozenset[int] = frozenset()
    cpuset_mems: frozenset[int] = frozenset()

    @classmethod
    def look(cls, limits: Limits, tree: Tree) -> Self:
        """Look at what these limits are to be compared with."""
        cpus = len(os.sched_getaffinity(0))
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if limits.cpuset_cpus is None and limits.cpuset_mems is None:
            return cls(cpus=cpus, memory=memory)
        return cls(
            cpus=cpus,
            memory=memory,
            cpuset_cpus=parse_list(_first(tree.cpuset_files("cpus"), "/sys/devices/system/cpu/online")),
            cpuset_mems=parse_list(_first(tree.cpuset_files("mems"), "/sys/devices/system/node/online")),
        )


def check(limits: Limits, tree: Tree) -> None:
    """Refuse what cannot be. Raises BadRequest, and Unsupported for what this host lacks."""
    check_values(limits, Machine.look(limits, tree))
    for rate in rates_of(limits):
        device_number(rate.path)
    for name in controllers_of(limits):
        if tree.version_of(name) is None and (name not in ALWAYS or _asks_for(limits, name)):
            raise Unsupported(tree.why_missing(name))
    if limits.oom_group and tree.version_of("memory") == 1:
        raise Unsupported(
            "oom group: the memory controller is in a v1 hierarchy here, which kills one process at a time",
            hint="cgroup v2 can do it",
        )


def _asks_for(limits: Limits, controller: str) -> bool:
    if controller == "pids":
        return limits.pids not in (None, UNLIMITED)
    return limits.memory is not None or limits.memory_reservation is not None or bool(limits.oom_group)


def check_values(limits: Limits, machine: Machine) -> None:
    """Refuse what no such machine can do. Raises BadRequest."""
    _check_cpu(limits, machine.cpus)
    _check_list("cpus", limits.cpuset_cpus, machine.cpuset_cpus)
    _check_list("mems", limits.cpuset_mems, machine.cpuset_mems)
    _check_memory(limits, machine.memory)
    if limits.pids is not None and limits.pids != UNLIMITED and not 1 <= limits.pids <= PIDS_MAX:
        raise BadRequest(
            f"pids limit {limits.pids} is out of range", hint=f"1 to {PIDS_MAX}; -1 is unlimited"
        )
    _in_range("io weight", limits.io_weight, WEIGHTS)
    _in_range("oom_score_adj", limits.oom_score_adj, OOM_SCORES)
    for rate in rates_of(limits):
        if not 1 <= rate.rate < _SIZE_MAX:
            raise BadRequest(
                f"device {rate.path}: a rate of {rate.rate} a second is out of range", hint="the least is 1"
            )


def _check_cpu(limits: Limits, cpus: int) -> None:
    _in_range("cpu period", limits.cpu_period, PERIODS, " microseconds")
    _in_range("cpu weight", limits.cpu_weight, WEIGHTS)
    _in_range("cpu shares", limits.cpu_shares, SHARES)
    if limits.cpu_weight is not None and limits.cpu_shares is not None:
        raise BadRequest("cpu weight and cpu shares are the same thing", hint="give one of both")
    if limits.cpu_quota is None:
        if limits.cpu_period is not None:
            raise BadRequest("cpu period without a quota bounds nothing", hint="give both")
        return
    period = limits.cpu_period or DEFAULT_CPU_PERIOD
    if limits.cpu_quota < QUOTA_MIN:
        least = f"the least is {QUOTA_MIN / period:g} cpus, 1 ms in a period of {period / 1000:g} ms"
        raise BadRequest(f"cpu limit {_cpus(limits.cpu_quota / period)} cpus is too small", hint=least)
    if limits.cpu_quota > cpus * period:
        hint = f"from {QUOTA_MIN / period:g} to {cpus}: this machine has {cpus}"
        raise BadRequest(f"cpu limit {_cpus(limits.cpu_quota / period)} cpus is above the machine", hint=hint)


def _cpus(number: float) -> str:
    """Return a number as people write it, never with an exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _check_memory(limits: Limits, there_is: int) -> None:
    memory, reservation, swap = limits.memory, limits.memory_reservation, limits.memory_swap
    if memory is not None and memory < MEMORY_MIN:
        hint = f"no process starts with less than {MEMORY_MIN}; a shell with commands of its own wants 384k"
        raise BadRequest(f"memory limit {memory} bytes is too small", hint=hint)
    for name, size in (("memory limit", memory), ("memory reservation", reservation)):
        if size is not None and size > there_is:
            raise BadRequest(
                f"{name} {size} bytes is above the machine",
                hint=f"it has {there_is}; leave it out for no limit",
            )
    if swap is not None and swap >= _SIZE_MAX:
        raise BadRequest(f"swap limit {swap} bytes is above what any machine has")
    if reservation is not None and reservation < 1:
        raise BadRequest(f"memory reservation {reservation} bytes is no size", hint="the least is 1")
    if reservation is not None and memory is not None and reservation > memory:
        raise BadRequest(f"memory reservation {reservation} is above the memory limit {memory}")
    if swap is not None:
        _check_swap(swap, memory)


def _check_swap(swap: int, memory: int | None) -> None:
    if swap == UNLIMITED:
        return
    if swap < 1:
        raise BadRequest(f"memory and swap limit {swap} is no size", hint="-1 is unlimited swap")
    if memory is None:
        raise BadRequest("memory and swap limit without a memory limit", hint="give both")
    if swap < memory:
        hint = "it counts memory and swap together; the same number is no swap"
        raise BadRequest(f"memory and swap limit {swap} is below the memory limit {memory}", hint=hint)


def _check_list(what: str, text: str | None, there: frozenset[int]) -> None:
    if text is None:
        return
    if not _CPU_LIST.fullmatch(text) or not parse_list(text):
        raise BadRequest(f"cpuset {what} {text[:40]!r} is malformed", hint="such as 0-3,7")
    if not parse_list(text) <= there:
        hint = f"this machine has {','.join(map(str, sorted(there)))}"
        raise BadRequest(f"cpuset {what} {text[:40]} are not available", hint=hint)


def _in_range(what: str, value: int | None, bounds: tuple[int, int], unit: str = "") -> None:
    if value is not None and not bounds[0] <= value <= bounds[1]:
        raise BadRequest(f"{what} {value} is out of range", hint=f"{bounds[0]} to {bounds[1]}{unit}")


def device_number(path: str) -> str:
    """Return "major:minor" of a block device. Raises BadRequest."""
    if not path.startswith("/"):
        raise BadRequest(f"device {path!r} is not absolute", hint="such as /dev/sda")
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadRequest(f"device {path!r}: {error.strerror}", path=path) from error
    if not stat.S_ISBLK(status.st_mode):
        raise BadRequest(f"device {path!r} is no block device", hint="such as /dev/sda", path=path)
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of a list as the kernel writes it: "0-3,7"."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def _first(paths: Iterable[Path], otherwise: str) -> str:
    for path in (*paths, Path(otherwise)):
        if path.exists() and (text := path.read_text(encoding="ascii").strip()):
            return text
    return "0"  # a kernel without NUMA says nothing of its one node
