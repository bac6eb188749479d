"""Resource limits of a container on the wire."""

from __future__ import annotations

from wherry_protocol.value import Value

DEFAULT_PIDS = 4096
"""How many processes and threads a container may have when nothing is said; docker has no limit then."""

UNLIMITED = -1

DEFAULT_CPU_PERIOD = 100_000
"""Microseconds."""


class DeviceRate(Value):
    """A bound on one block device, by its path on the host: bytes or operations a second."""

    path: str
    rate: int


class Limits(Value):
    """What a container may use; None is the kernel's own default (of `pids`: DEFAULT_PIDS).

    `cpu_quota` microseconds of cpu time in each `cpu_period` (microseconds, 100000): 150000 is one and a
    half cpus. `cpu_weight` is 1 to 10000, 100 normal; `cpu_shares` are docker's, 1024 normal: one of both.
    `cpuset_cpus` and `cpuset_mems` are lists as "0-3,7". `memory`, `memory_reservation` and
    `memory_swap` (memory and swap together; -1 unlimited) are bytes; without `memory_swap` it is twice the
    memory, as docker. `pids` counts processes and threads, -1 is unlimited. `io_weight` is 1 to 10000,
    100 normal. `oom_group`: out of memory ends the container, not one of its processes.
    `oom_score_adj` is that of proc(5).
    """

    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_weight: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    pids: int | None = None
    io_weight: int | None = None
    device_read_bps: tuple[DeviceRate, ...] = ()
    device_write_bps: tuple[DeviceRate, ...] = ()
    device_read_iops: tuple[DeviceRate, ...] = ()
    device_write_iops: tuple[DeviceRate, ...] = ()
    oom_group: bool | None = None
    oom_score_adj: int | None = None


NO_LIMITS = Limits()
"""Nothing is asked for; nobody changes it."""
