"""From what was counted to OpenMetrics text. Pure, but for the process's own /proc.

Owns the names of the supervisor's own metrics and of containers' lives; families.py has what they use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector

from wherryd.metrics.families import FAMILIES, LABELS, counter, gauge, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from wherry_protocol.stats import Stats
    from wherryd.metrics.families import Sample

CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One supervisor's counts. Maps are by label: state, outcome, scope, (type, action), container id."""

    version: Mapping[str, str]
    launcher_pid: int | None
    containers: Mapping[str, int]
    images: int
    starts: int
    exits: Mapping[str, int]
    oom_kills: Mapping[str, int]
    events: Mapping[tuple[str, str], int]
    stats: Sequence[Stats]
    started_at: Mapping[str, float]
    container_oom_kills: Mapping[str, int]
    healthy: Mapping[str, bool]


def render(counted: Counted) -> bytes:
    """Return the page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counted))
    ProcessCollector(registry=registry)
    if counted.launcher_pid is not None:
        pid = counted.launcher_pid
        ProcessCollector(namespace="wherry_launcher", pid=lambda: pid, registry=registry)
    untyped: Any = exposition
    page: bytes = untyped.generate_latest(registry)
    return page


class _Collector(Collector):
    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        yield from _of_supervisor(self._counted)
        for family in FAMILIES:
            yield family.metric(self._counted.stats)
        yield from _of_lives(self._counted)


def _of_supervisor(counted: Counted) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "wherry", "Versions of the supervisor and of what it runs on.", dict(counted.version)
    )
    yield gauge("wherry_containers", "Containers by state.", ("state",), _by_one(counted.containers))
    yield GaugeMetricFamily("wherry_images", "Images in the store.", counted.images)
    yield CounterMetricFamily(
        "wherry_container_starts", "Starts of containers by this supervisor.", counted.starts
    )
    yield counter(
        "wherry_container_exits", "Ends of containers, by outcome.", ("outcome",), _by_one(counted.exits)
    )
    yield counter(
        "wherry_oom_kills",
        "Processes of containers that the kernel killed for want of memory, by scope.",
        ("scope",),
        _by_one(counted.oom_kills),
    )
    yield counter("wherry_events", "Events, by type and action.", ("type", "action"), counted.events.items())


def _of_lives(counted: Counted) -> Iterator[Metric]:
    known = {each.id: identity(each) for each in counted.stats}
    start = "When the container was started, in seconds since the epoch."
    yield gauge(
        "wherry_container_start_time_seconds", start, LABELS, _known(counted.started_at, known), "seconds"
    )
    yield counter(
        "wherry_container_oom_kills",
        "Processes of this run that the kernel killed for want of memory.",
        LABELS,
        _known(counted.container_oom_kills, known),
    )
    yield gauge(
        "wherry_container_healthy",
        "1 when the container's healthcheck says so; those without one are left out.",
        LABELS,
        _known(counted.healthy, known),
    )


def _by_one(counts: Mapping[str, int]) -> Iterable[Sample]:
    return [((label,), count) for label, count in counts.items()]


def _known(counts: Mapping[str, float], known: Mapping[str, tuple[str, str]]) -> Iterable[Sample]:
    return [(known[key], count) for key, count in counts.items() if key in known]
