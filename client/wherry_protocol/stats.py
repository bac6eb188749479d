"""What running containers use: the values, and the requests for them."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value

DEFAULT_INTERVAL = 1.0
"""Seconds between the looks of a stream."""

MIN_INTERVAL, MAX_INTERVAL = 0.1, 86400.0


class CpuStats(Value):
    """Seconds of processor time since the start: all, and in user and kernel mode.

    A limited container was held back in `throttled_periods` of `periods`, for `throttled_seconds` in all.
    """

    seconds: float
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    periods: int = 0
    throttled_periods: int = 0
    throttled_seconds: float = 0.0


class MemoryStats(Value):
    """Bytes. `working_set` is what cannot be given back at once: `usage` less files not used lately.

    `limit` is what it may use: its limit, or (`limited` False) the machine's memory. `peak` is the most
    that it used, None where the kernel does not say (v2 before Linux 5.19). `anon` is its own data, `file`
    the cache of what it read and wrote; `swap` is None where that is not counted.
    """

    usage: int
    working_set: int
    limit: int
    limited: bool
    peak: int | None = None
    anon: int = 0
    file: int = 0
    swap: int | None = None

    @property
    def percent(self) -> float:
        """The working set's share of the limit."""
        return 100 * self.working_set / self.limit if self.limit else 0.0


class PidsStats(Value):
    """Processes and threads, and how many there may be (None: any number)."""

    current: int
    limit: int | None = None


class IoStats(Value):
    """Bytes and requests that reached block devices."""

    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


class InterfaceStats(Value):
    """What came in (rx) and went out (tx) through a network interface of the container."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Pressure(Value):
    """The time in which some, or all ("full"), processes waited for a resource (accounting/psi.rst).

    Percent of the last 10, 60 and 300 seconds; the totals are seconds.
    """

    some_avg10: float = 0.0
    some_avg60: float = 0.0
    some_avg300: float = 0.0
    some_seconds: float = 0.0
    full_avg10: float = 0.0
    full_avg60: float = 0.0
    full_avg300: float = 0.0
    full_seconds: float = 0.0


class Stats(Value):
    """What a container uses at a `time` (seconds since the epoch). None is what cannot be known of it.

    `cpu_percent` is 100 for one processor: since the look before it of the same stream, else over the
    container's life. `network` has its interfaces by name, without lo; None when it uses the machine's.
    `io` is None where no controller counts it; `pressure` has "cpu", "memory" and "io", where the kernel
    has them. A container that does not run has nothing.
    """

    id: str
    name: str
    time: float
    running: bool = True
    cpu_percent: float | None = None
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    pids: PidsStats | None = None
    io: IoStats | None = None
    network: Mapping[str, InterfaceStats] | None = None
    pressure: Mapping[str, Pressure] | None = None

    @property
    def rx_bytes(self) -> int | None:
        """What came in through all its interfaces."""
        return None if self.network is None else sum(each.rx_bytes for each in self.network.values())

    @property
    def tx_bytes(self) -> int | None:
        """What went out through all its interfaces."""
        return None if self.network is None else sum(each.tx_bytes for each in self.network.values())


class GetStats(Call[Stats]):
    """Ask what a running container uses, now."""

    op = "get_stats"
    answer = Stats
    ref: str


class StatsSample(Value):
    """Event: one look at the containers."""

    containers: tuple[Stats, ...]


class WatchStats(Stream[None]):
    """Stream what containers use, every `interval` seconds; the first look lasts half a second at most.

    `refs` () are all that run, also those that start later; with `all` those that do not run, too. A
    container that ends is in no further look. With `refs`, which must run unless `all` is given, the stream
    ends when none of them is left.
    """

    op = "watch_stats"
    events = (StatsSample,)
    refs: tuple[str, ...] = ()
    all: bool = False
    interval: float = DEFAULT_INTERVAL
