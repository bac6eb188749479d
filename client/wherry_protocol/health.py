"""Healthchecks on the wire: how a container is asked whether it works, and what it answered."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.typed import Literal
from wherry_protocol.value import Value

HealthStatus = Literal["starting", "healthy", "unhealthy"]


class HealthCheck(Value):
    """A command that is executed in the container now and then: code 0 is healthy.

    `test` is ("CMD-SHELL", command line), ("CMD", program, argument, …), or ("NONE",) for none; () is the
    image's. Times are in seconds; what is None is as the image says, else docker's default. `interval` (30)
    is the time between two probes, `timeout` (30) what one may take, `retries` (3) how many must fail in a
    row. During `start_period` (0) failures do not count, and probes come every `start_interval` (5).

    Example:
        HealthCheck(test=("CMD-SHELL", "wget -q -O - localhost:8080/ping"), interval=10, start_period=60)

    """

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None


class Probe(Value):
    """One probe. Times are seconds since the epoch; `exit_code` -1: it was not done in time, or not begun.

    `output` is what it wrote to standard output and error, at most 4096 bytes of it.
    """

    started_at: float
    ended_at: float
    exit_code: int
    output: str


class Health(Value):
    """What a container's probes said: `log` has the last five, oldest first."""

    status: HealthStatus = "starting"
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()


class WaitHealthy(Call[str]):
    """Answered with "healthy" or "unhealthy" once a running container's probes have said which.

    Refused (conflict) when it has no healthcheck, and when it ends before that.
    """

    op = "wait_healthy"
    answer = str
    repeatable = True
    ref: str
