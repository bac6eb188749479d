"""The metrics of what a running container uses: a table of names, units, HELP and where the number is.

Owns these names: base units, `_total` for what only grows, HELP for all (OpenMetrics 1.0). What cannot be
known of a container is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from prometheus_client.metrics_core import Metric

    from wherry_protocol.stats import Stats

    Sample = tuple[tuple[str, ...], float]
    Find = Callable[[Stats], Iterable[Sample]]

LABELS = ("name", "id")
_ID_DIGITS = 12


def identity(stats: Stats) -> tuple[str, str]:
    """Return the values of LABELS."""
    return stats.name, stats.id[:_ID_DIGITS]


def gauge(
    name: str, text: str, labels: Sequence[str], samples: Iterable[Sample], unit: str = ""
) -> GaugeMetricFamily:
    """Return a metric of what goes up and down."""
    metric = GaugeMetricFamily(name, text, labels=labels, unit=unit)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric


def counter(
    name: str, text: str, labels: Sequence[str], samples: Iterable[Sample], unit: str = ""
) -> CounterMetricFamily:
    """Return a metric of what only grows: its samples get `_total`."""
    metric = CounterMetricFamily(name, text, labels=labels, unit=unit)
    for values, number in samples:
        metric.add_metric(values, number)
    return metric


class Family(NamedTuple):
    """A metric of running containers. `find` returns a container's samples, by the values of `labels`."""

    name: str
    unit: str
    text: str
    find: Find
    make: Callable[..., Metric] = counter
    labels: tuple[str, ...] = ()

    def metric(self, containers: Iterable[Stats]) -> Metric:
        """Return the metric with the samples of all containers."""
        samples = [
            ((*identity(stats), *values), number)
            for stats in containers
            for values, number in self.find(stats)
        ]
        name, labels = f"wherry_container_{self.name}", (*LABELS, *self.labels)
        return self.make(name, self.text, labels, samples, self.unit)


def _field(part: str, field: str) -> Find:
    """Find one number of a part that may be missing, as may the number."""

    def find(stats: Stats) -> Iterable[Sample]:
        value: Any = getattr(stats, part)
        number = None if value is None else getattr(value, field)
        return [] if number is None else [((), number)]

    return find


def _each(part: str, field: str) -> Find:
    """Find a number of each thing in a map that may be missing."""

    def find(stats: Stats) -> Iterable[Sample]:
        values: Mapping[str, Any] = getattr(stats, part) or {}
        return [((name,), getattr(value, field)) for name, value in values.items()]

    return find


def _limit(stats: Stats) -> Iterable[Sample]:
    memory = stats.memory
    return [((), memory.limit)] if memory is not None and memory.limited else []


_NET, _STALL = ("interface",), ("resource",)

FAMILIES = (
    Family("cpu_seconds", "seconds", "Processor time used.", _field("cpu", "seconds")),
    Family("cpu_user_seconds", "seconds", "Processor time in user mode.", _field("cpu", "user_seconds")),
    Family("cpu_system_seconds", "seconds", "Processor time in the kernel.", _field("cpu", "system_seconds")),
    Family("cpu_periods", "", "Periods in which the limit was enforced.", _field("cpu", "periods")),
    Family("cpu_throttled_periods", "", "Periods held back by it.", _field("cpu", "throttled_periods")),
    Family("cpu_throttled_seconds", "seconds", "Time held back by it.", _field("cpu", "throttled_seconds")),
    Family("memory_usage_bytes", "bytes", "Memory charged, with caches.", _field("memory", "usage"), gauge),
    Family(
        "memory_working_set_bytes", "bytes", "Memory that cannot be given back at once.",
        _field("memory", "working_set"), gauge,
    ),
    Family("memory_peak_bytes", "bytes", "The most that was charged.", _field("memory", "peak"), gauge),
    Family("memory_limit_bytes", "bytes", "The limit, of those that have one.", _limit, gauge),
    Family("memory_anon_bytes", "bytes", "Data that is in no file.", _field("memory", "anon"), gauge),
    Family("memory_file_bytes", "bytes", "Caches of files.", _field("memory", "file"), gauge),
    Family("memory_swap_bytes", "bytes", "Swap used.", _field("memory", "swap"), gauge),
    Family("pids", "", "Processes and threads.", _field("pids", "current"), gauge),
    Family("pids_limit", "", "The limit, of those that have one.", _field("pids", "limit"), gauge),
    Family("io_read_bytes", "bytes", "Read from block devices.", _field("io", "read_bytes")),
    Family("io_written_bytes", "bytes", "Written to block devices.", _field("io", "write_bytes")),
    Family("io_reads", "", "Reads from block devices.", _field("io", "reads")),
    Family("io_writes", "", "Writes to block devices.", _field("io", "writes")),
    Family("network_receive_bytes", "bytes", "Received.", _each("network", "rx_bytes"), counter, _NET),
    Family("network_receive_packets", "", "Received.", _each("network", "rx_packets"), counter, _NET),
    Family("network_receive_errors", "", "Not received.", _each("network", "rx_errors"), counter, _NET),
    Family("network_receive_dropped", "", "Dropped.", _each("network", "rx_dropped"), counter, _NET),
    Family("network_transmit_bytes", "bytes", "Sent.", _each("network", "tx_bytes"), counter, _NET),
    Family("network_transmit_packets", "", "Sent.", _each("network", "tx_packets"), counter, _NET),
    Family("network_transmit_errors", "", "Not sent.", _each("network", "tx_errors"), counter, _NET),
    Family("network_transmit_dropped", "", "Dropped.", _each("network", "tx_dropped"), counter, _NET),
    Family(
        "pressure_waiting_seconds", "seconds", "Time in which some process waited for it (PSI some).",
        _each("pressure", "some_seconds"), counter, _STALL,
    ),
    Family(
        "pressure_stalled_seconds", "seconds", "Time in which all processes waited for it (PSI full).",
        _each("pressure", "full_seconds"), counter, _STALL,
    ),
)  # fmt: skip
