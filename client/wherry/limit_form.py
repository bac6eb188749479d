"""A container's limits under docker's names, for `inspect`.

Owns the wording; pure.
"""

from __future__ import annotations

from wherry_protocol.limits import DEFAULT_CPU_PERIOD, DEFAULT_PIDS
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from wherry_protocol.limits import DeviceRate, Limits

_NANO = 1_000_000_000


def limit_fields(limits: Limits) -> dict[str, Any]:
    """Return what HostConfig says of limits: 0 (or "") is none, as docker has it."""
    quota, period = limits.cpu_quota or 0, limits.cpu_period or DEFAULT_CPU_PERIOD
    memory = limits.memory or 0
    swap = limits.memory_swap if limits.memory_swap is not None else 2 * memory
    return {
        "Memory": memory,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": swap,
        "NanoCpus": quota * _NANO // period,
        "CpuQuota": quota,
        "CpuPeriod": period if quota else 0,
        "CpuShares": limits.cpu_shares or 0,
        "CpuWeight": limits.cpu_weight or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "PidsLimit": DEFAULT_PIDS if limits.pids is None else limits.pids,
        "IoWeight": limits.io_weight or 0,
        "BlkioDeviceReadBps": _rates(limits.device_read_bps),
        "BlkioDeviceWriteBps": _rates(limits.device_write_bps),
        "BlkioDeviceReadIOps": _rates(limits.device_read_iops),
        "BlkioDeviceWriteIOps": _rates(limits.device_write_iops),
        "OomKillDisable": False,
        "OomGroup": bool(limits.oom_group),
        "OomScoreAdj": limits.oom_score_adj or 0,
    }


def _rates(rates: tuple[DeviceRate, ...]) -> list[dict[str, Any]] | None:
    return [{"Path": rate.path, "Rate": rate.rate} for rate in rates] or None
