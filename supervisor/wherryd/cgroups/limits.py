"""From limits to what is written into which file of which controller, in either version of cgroups.

Pure: nothing is looked up, checked or written here. Files and texts are those of the kernel's
admin-guide/cgroup-v2.rst and cgroup-v1/*.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.limits import DEFAULT_CPU_PERIOD, DEFAULT_PIDS, UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wherry_protocol.limits import DeviceRate, Limits

ALWAYS = ("memory", "pids")
"""Controllers that every container has: for the default limit, and for what is told of its memory."""

SHARES = (2, 262_144)
"""The range of v1's cpu.shares; 1024 is normal."""

WEIGHTS = (1, 10_000)
"""The range of v2's cpu.weight and io.weight; 100 is normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A text for a file of a controller (by its v2 name), asked for by an `option` of the command line.

    `also` is another file and text, for what else may heed it: it goes wherever there is a file, and one is
    enough. A `wish` is nobody's request: a kernel without the file does without it.
    """

    controller: str
    option: str
    file: str
    text: str
    also: tuple[str, str] | None = None
    wish: bool = False

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Each file, and what it is to say."""
        return ((self.file, self.text), *((self.also,) if self.also else ()))


def writes(
    limits: Limits, version_of: Callable[[str], int | None], numbers: Mapping[str, str]
) -> list[Write]:
    """Return what limits come to, in the order to write it in.

    `version_of` says where a controller is; what is nowhere is written as for version 2, and refused by who
    writes it. `numbers` has each device's "major:minor" by its path.
    """
    found: list[Write] = []
    for controller, (v1, v2) in _BUILDERS.items():
        build = v1 if version_of(controller) == 1 else v2
        found += build(limits)
    io = _io_v1 if version_of("io") == 1 else _io_v2
    return [*found, *io(limits, numbers)]


def controllers_of(limits: Limits) -> tuple[str, ...]:
    """Return the controllers that a container with these limits is in."""
    asked = {"cpu": _any_cpu(limits), "cpuset": _any_cpuset(limits), "io": _any_io(limits)}
    return (*ALWAYS, *[name for name, wanted in asked.items() if wanted])


def _any_cpu(limits: Limits) -> bool:
    return (limits.cpu_quota, limits.cpu_weight, limits.cpu_shares) != (None, None, None)


def _any_cpuset(limits: Limits) -> bool:
    return (limits.cpuset_cpus, limits.cpuset_mems) != (None, None)


def _any_io(limits: Limits) -> bool:
    return limits.io_weight is not None or any(rates_of(limits))


def rates_of(limits: Limits) -> tuple[DeviceRate, ...]:
    """Return the bounds on devices, of every kind."""
    return tuple([rate for _option, _file, _key, rates in _devices(limits) for rate in rates])


def weight_of(limits: Limits) -> int | None:
    """Return the weight of v2; docker's shares keep their proportion to what is normal."""
    if limits.cpu_shares is not None:
        return _within(WEIGHTS, round(limits.cpu_shares * 100 / 1024))
    return limits.cpu_weight


def shares_of(limits: Limits) -> int | None:
    """Return the shares of v1; a weight keeps its proportion to what is normal."""
    if limits.cpu_weight is not None:
        return _within(SHARES, round(limits.cpu_weight * 1024 / 100))
    return limits.cpu_shares


def swap_of(limits: Limits) -> int | None:
    """Return memory and swap together, twice the memory if not said (as docker); None: not bounded."""
    if limits.memory_swap is None and limits.memory is not None:
        return limits.memory * 2
    return limits.memory_swap


def _within(bounds: tuple[int, int], value: int) -> int:
    return max(bounds[0], min(bounds[1], value))


def _cpu_v2(limits: Limits) -> Iterator[Write]:
    if limits.cpu_quota is not None:
        period = limits.cpu_period or DEFAULT_CPU_PERIOD
        yield Write(controller="cpu", option="--cpus", file="cpu.max", text=f"{limits.cpu_quota} {period}")
    weight = weight_of(limits)
    if weight is not None:
        yield Write(controller="cpu", option="--cpu-weight", file="cpu.weight", text=str(weight))


def _cpu_v1(limits: Limits) -> Iterator[Write]:
    if limits.cpu_quota is not None:
        period = str(limits.cpu_period or DEFAULT_CPU_PERIOD)
        yield Write(controller="cpu", option="--cpus", file="cpu.cfs_period_us", text=period)
        yield Write(controller="cpu", option="--cpus", file="cpu.cfs_quota_us", text=str(limits.cpu_quota))
    shares = shares_of(limits)
    if shares is not None:
        yield Write(controller="cpu", option="--cpu-weight", file="cpu.shares", text=str(shares))


def _cpuset(limits: Limits) -> Iterator[Write]:
    for option, file, text in (
        ("--cpuset-mems", "cpuset.mems", limits.cpuset_mems),
        ("--cpuset-cpus", "cpuset.cpus", limits.cpuset_cpus),
    ):
        if text is not None:
            yield Write(controller="cpuset", option=option, file=file, text=text)


def _memory_v2(limits: Limits) -> Iterator[Write]:
    if limits.memory_reservation is not None:
        low = str(limits.memory_reservation)
        yield Write(controller="memory", option="--memory-reservation", file="memory.low", text=low)
    swap = swap_of(limits)
    if swap is not None and limits.memory is not None:
        # v2 bounds swap by itself; the request is of both together.
        text = "max" if swap == UNLIMITED else str(swap - limits.memory)
        yield Write(
            controller="memory",
            option="--memory-swap",
            file="memory.swap.max",
            text=text,
            wish=limits.memory_swap is None,
        )
    if limits.memory is not None:
        yield Write(controller="memory", option="--memory", file="memory.max", text=str(limits.memory))
    if limits.oom_group is not None:
        text = str(int(limits.oom_group))
        yield Write(controller="memory", option="--oom-group", file="memory.oom.group", text=text)


def _memory_v1(limits: Limits) -> Iterator[Write]:
    if limits.memory_reservation is not None:
        yield Write(
            controller="memory",
            option="--memory-reservation",
            file="memory.soft_limit_in_bytes",
            text=str(limits.memory_reservation),
        )
    if limits.memory is not None:
        text = str(limits.memory)
        yield Write(controller="memory", option="--memory", file="memory.limit_in_bytes", text=text)
    swap = swap_of(limits)
    if swap is not None:
        yield Write(
            controller="memory",
            option="--memory-swap",
            file="memory.memsw.limit_in_bytes",
            text=str(swap),
            wish=limits.memory_swap is None,
        )
    if limits.oom_group:
        yield Write(controller="memory", option="--oom-group", file="memory.oom.group", text="1")


def _pids(limits: Limits) -> Iterator[Write]:
    text = pids_max(limits)
    yield Write(
        controller="pids", option="--pids-limit", file="pids.max", text=text, wish=limits.pids is None
    )


def pids_max(limits: Limits) -> str:
    """Return what pids.max is to say."""
    pids = DEFAULT_PIDS if limits.pids is None else limits.pids
    return "max" if pids == UNLIMITED else str(pids)


def _io_v2(limits: Limits, numbers: Mapping[str, str]) -> Iterator[Write]:
    if limits.io_weight is not None:
        yield Write(
            controller="io",
            option="--io-weight",
            file="io.weight",
            text=f"default {limits.io_weight}",
            also=("io.bfq.weight", f"default {_bfq(limits.io_weight)}"),
        )
    for option, _file, key, rates in _devices(limits):
        for rate in rates:
            text = f"{numbers[rate.path]} {key}={rate.rate}"
            yield Write(controller="io", option=option, file="io.max", text=text)


def _io_v1(limits: Limits, numbers: Mapping[str, str]) -> Iterator[Write]:
    if limits.io_weight is not None:
        weight = str(_bfq(limits.io_weight))
        yield Write(controller="io", option="--io-weight", file="blkio.bfq.weight", text=weight)
    for option, file, _key, rates in _devices(limits):
        for rate in rates:
            text = f"{numbers[rate.path]} {rate.rate}"
            yield Write(controller="io", option=option, file=file, text=text)


def _devices(limits: Limits) -> tuple[tuple[str, str, str, tuple[DeviceRate, ...]], ...]:
    """Return the option, the file of v1, the key in io.max of v2, and the bounds, of each kind."""
    throttle = "blkio.throttle."
    return (
        ("--device-read-bps", f"{throttle}read_bps_device", "rbps", limits.device_read_bps),
        ("--device-write-bps", f"{throttle}write_bps_device", "wbps", limits.device_write_bps),
        ("--device-read-iops", f"{throttle}read_iops_device", "riops", limits.device_read_iops),
        ("--device-write-iops", f"{throttle}write_iops_device", "wiops", limits.device_write_iops),
    )


def _bfq(weight: int) -> int:
    """Return a weight as the BFQ scheduler has it: 1 to 1000, 100 normal."""
    return _within((1, 1000), weight)


_BUILDERS = {
    "cpuset": (_cpuset, _cpuset),
    "cpu": (_cpu_v1, _cpu_v2),
    "memory": (_memory_v1, _memory_v2),
    "pids": (_pids, _pids),
}
