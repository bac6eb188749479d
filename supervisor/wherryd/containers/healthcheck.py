"""What a container's healthcheck comes to: the request's word over the image's over docker's defaults. Pure.

Owns the refusals, and docker's rules of what a probe's result means.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.health import Health, HealthCheck

if TYPE_CHECKING:
    from wherry_protocol.health import Probe
    from wherryd.images.reference import ImageConfig

SHORTEST = 0.001
"""Seconds: docker's least interval and timeout."""

LOG_LENGTH = 5
"""Probes that are remembered, as docker."""

_SHELL = ("/bin/sh", "-c")
_DEFAULTS = HealthCheck(interval=30.0, timeout=30.0, retries=3, start_period=0.0, start_interval=5.0)
_SECONDS = ("interval", "timeout", "start_period", "start_interval")


def check(wanted: HealthCheck) -> None:
    """Raises BadRequest naming the field that is wrong."""
    test = wanted.test
    if any("\0" in word for word in test):
        raise BadRequest("health test: a NUL character is not allowed")
    if test and not _is_test(test):
        raise BadRequest(
            f"health test {test!r:.80} is malformed",
            hint='("CMD-SHELL", line), ("CMD", program, argument, …) or ("NONE",)',
        )
    if test == ("NONE",) and wanted != HealthCheck(test=test):
        raise BadRequest("health: no healthcheck is wanted, and settings for one are given")
    for name in _SECONDS:
        seconds: float | None = getattr(wanted, name)
        if seconds is not None and not (seconds == 0 or (math.isfinite(seconds) and seconds >= SHORTEST)):
            raise BadRequest(f"health {name} {seconds} s: the shortest is 1 ms", hint="0 is the default")
    if wanted.retries is not None and wanted.retries < 0:
        raise BadRequest(f"health retries {wanted.retries} are below zero", hint="0 is the default")


def resolve(wanted: HealthCheck | None, image: ImageConfig, reference: str) -> HealthCheck | None:
    """Return the healthcheck with everything said, None when there is none. Raises BadRequest."""
    theirs = image.healthcheck
    if wanted is None and theirs is None:
        return None
    test = (wanted.test if wanted else ()) or (theirs.test if theirs else ())
    if not test:
        raise BadRequest(
            f"health: image {reference} has no healthcheck to be changed",
            hint="give a command with --health-cmd",
        )
    if test == ("NONE",):
        return None
    fields = {
        name: getattr(wanted, name, None) or getattr(theirs, name, None) or getattr(_DEFAULTS, name)
        for name in (*_SECONDS, "retries")
    }
    return HealthCheck(test=test, **fields)


def command(check_: HealthCheck, shell: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a probe executes; `shell` is the image's, () is /bin/sh -c."""
    kind, *words = check_.test
    return tuple(words) if kind == "CMD" else (*(shell or _SHELL), *words)


def before_next(check_: HealthCheck, health: Health, age: float) -> float:
    """Return the seconds until the next probe of a container that has run for `age` seconds."""
    young = health.status == "starting" and age < (check_.start_period or 0)
    return (check_.start_interval if young else check_.interval) or 0


def after(check_: HealthCheck, health: Health, probe: Probe, age: float) -> Health:
    """Return the health after a probe that began when the container had run for `age` seconds."""
    log = (*health.log, probe)[-LOG_LENGTH:]
    if probe.exit_code == 0:
        return Health(status="healthy", log=log)
    if health.status == "starting" and age < (check_.start_period or 0):
        return health.replace(log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= (check_.retries or 1) else health.status
    return Health(status=status, failing_streak=streak, log=log)


def _is_test(test: tuple[str, ...]) -> bool:
    match test:
        case ("NONE",):
            return True
        case ("CMD-SHELL", line):
            return bool(line)
        case ("CMD", program, *_):
            return bool(program)
        case _:
            return False
