"""What the kernel counts of a cgroup and of a network namespace: its texts as numbers.

Owns the forms of those files (cgroup-v2.rst, cgroup-v1/*.rst, accounting/psi.rst). Must never know which
files a container has.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from wherryd.kernel.errors import from_oserror

UNLIMITED = 1 << 62
"""v1 says "no limit" by the biggest whole number of pages: whatever is beyond this is none."""

_NET_HEAD_LINES = 2
_NET_FIELDS = 16

_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EOPNOTSUPP)
"""No such file, its cgroup or process is gone, or (PSI) it was turned off at boot."""


def read(path: str) -> str | None:
    """Return the text of a file; None when there is none. Raises KernelError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode()
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise from_oserror(error, "read", path) from error


def flat(text: str) -> dict[str, int]:
    """Return a flat keyed file (memory.stat, cpu.stat, memory.events, v1's memory.oom_control)."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1}


def limit(text: str) -> int | None:
    """Return a limit; None for "max", "-1" and what v1 calls unlimited."""
    value = text.strip()
    if value in ("max", "-1"):
        return None
    return number if (number := int(value)) < UNLIMITED else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Io:
    """Bytes and requests that reached block devices, of all devices."""

    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0


def io_stat(text: str) -> Io:
    """Return the sums of io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`, a line a device."""
    sums = dict.fromkeys(("rbytes", "wbytes", "rios", "wios"), 0)
    for line in text.splitlines():
        for pair in line.split()[1:]:
            key, _, value = pair.partition("=")
            if key in sums:
                sums[key] += int(value)
    return Io(**sums)


def blkio(service_bytes: str, serviced: str) -> Io:
    """Return the sums of v1's blkio.throttle.io_service_bytes and io_serviced: `8:0 Read 1`, and a total."""
    (rbytes, wbytes), (rios, wios) = _read_and_write(service_bytes), _read_and_write(serviced)
    return Io(rbytes=rbytes, wbytes=wbytes, rios=rios, wios=wios)


def _read_and_write(text: str) -> tuple[int, int]:
    sums = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in sums:  # noqa: PLR2004 - device, operation, count
            sums[words[1]] += int(words[2])
    return sums["Read"], sums["Write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """A line of a pressure file: shares of the last 10, 60 and 300 seconds in percent, and microseconds."""

    avg10: float
    avg60: float
    avg300: float
    total: int


def pressure(text: str) -> dict[str, Stalled]:
    """Return cpu.pressure and its like by "some" and "full"; Linux before 5.13 has no "full" for the cpu."""
    found: dict[str, Stalled] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[kind] = Stalled(
            avg10=float(values["avg10"]),
            avg60=float(values["avg60"]),
            avg300=float(values["avg300"]),
            total=int(values["total"]),
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went through a network interface since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def net_dev(text: str) -> dict[str, Traffic]:
    """Return /proc/PID/net/dev by interface, as that process's network namespace has it, without lo."""
    found: dict[str, Traffic] = {}
    for line in text.splitlines()[_NET_HEAD_LINES:]:
        name, _, rest = line.rpartition(":")
        values = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(values) == _NET_FIELDS:
            found[name.strip()] = Traffic(
                rx_bytes=values[0], rx_packets=values[1], rx_errors=values[2], rx_dropped=values[3],
                tx_bytes=values[8], tx_packets=values[9], tx_errors=values[10], tx_dropped=values[11],
            )  # fmt: skip
    return found
