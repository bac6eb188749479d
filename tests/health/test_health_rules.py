"""What a healthcheck comes to, and what probes mean: docker's rules, without a container."""

from __future__ import annotations

import pytest

from wherry_protocol.errors import BadRequest
from wherry_protocol.health import Health, HealthCheck, Probe
from wherryd.containers import healthcheck as rules
from wherryd.images.reference import Healthcheck, ImageConfig

SHELL = ("CMD-SHELL", "true")
WHOLE = HealthCheck(test=SHELL, interval=30.0, timeout=30.0, retries=3, start_period=0.0, start_interval=5.0)
IMAGE = ImageConfig(healthcheck=Healthcheck(test=("CMD", "check", "it"), interval=7.0, retries=9))


def probe(code: int, output: str = "") -> Probe:
    return Probe(started_at=1.0, ended_at=2.0, exit_code=code, output=output)


def after(health: Health, *codes: int, age: float = 100.0, **check: float) -> Health:
    for code in codes:
        health = rules.after(WHOLE.replace(**check), health, probe(code), age)
    return health


@pytest.mark.parametrize(
    ("wanted", "image", "expected"),
    [
        (None, ImageConfig(), None),
        (HealthCheck(test=SHELL), ImageConfig(), WHOLE),
        (HealthCheck(test=SHELL, interval=0, retries=0), ImageConfig(), WHOLE),
        (None, IMAGE, WHOLE.replace(test=("CMD", "check", "it"), interval=7.0, retries=9)),
        (
            HealthCheck(interval=2.5),
            IMAGE,
            WHOLE.replace(test=("CMD", "check", "it"), interval=2.5, retries=9),
        ),
        (HealthCheck(test=SHELL), IMAGE, WHOLE.replace(interval=7.0, retries=9)),
        (HealthCheck(test=("NONE",)), IMAGE, None),
        (None, ImageConfig(healthcheck=Healthcheck(test=("NONE",))), None),
    ],
)
def test_the_request_wins_over_the_image_and_that_over_docker(
    wanted: HealthCheck | None, image: ImageConfig, expected: HealthCheck | None
) -> None:
    assert rules.resolve(wanted, image, "image") == expected


def test_settings_without_a_command_are_refused() -> None:
    with pytest.raises(BadRequest, match="image web has no healthcheck to be changed"):
        rules.resolve(HealthCheck(interval=1), ImageConfig(), "web")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (HealthCheck(test=("CMD",)), "malformed"),
        (HealthCheck(test=("CMD-SHELL", "a", "b")), "malformed"),
        (HealthCheck(test=("CMD-SHELL", "")), "malformed"),
        (HealthCheck(test=("EXEC", "a")), "malformed"),
        (HealthCheck(test=("CMD", "a\0b")), "NUL"),
        (HealthCheck(test=("NONE",), interval=3), "no healthcheck is wanted"),
        (HealthCheck(test=SHELL, interval=0.0001), "health interval 0.0001 s: the shortest is 1 ms"),
        (HealthCheck(test=SHELL, timeout=-1), "health timeout -1"),
        (HealthCheck(test=SHELL, start_period=float("nan")), "health start_period nan"),
        (HealthCheck(test=SHELL, start_interval=float("inf")), "health start_interval inf"),
        (HealthCheck(test=SHELL, retries=-1), "health retries -1"),
    ],
)
def test_what_cannot_be_is_refused(wanted: HealthCheck, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        rules.check(wanted)


def test_the_command_is_the_shells_or_its_own() -> None:
    assert rules.command(WHOLE, ()) == ("/bin/sh", "-c", "true")
    assert rules.command(WHOLE, ("/bin/bash", "-o", "pipefail", "-c")) == (
        "/bin/bash", "-o", "pipefail", "-c", "true",
    )  # fmt: skip
    assert rules.command(WHOLE.replace(test=("CMD", "a", "-b")), ()) == ("a", "-b")


def test_so_many_failures_in_a_row_make_it_unhealthy() -> None:
    one = after(Health(), 1, 1)
    assert (one.status, one.failing_streak) == ("starting", 2)
    assert after(one, 1).status == "unhealthy"
    assert after(one, 0, 1, 1).status == "healthy"
    assert after(one, 0, 1, 1, 1).status == "unhealthy"


def test_one_success_makes_it_healthy_again() -> None:
    health = after(Health(status="unhealthy", failing_streak=8), 0)
    assert (health.status, health.failing_streak) == ("healthy", 0)


def test_failures_in_the_start_period_do_not_count() -> None:
    """Until the first success: then the start is over."""
    young = after(Health(), 1, 1, 1, 1, age=1, start_period=10)
    assert (young.status, young.failing_streak) == ("starting", 0)
    assert after(young, 0, age=1, start_period=10).status == "healthy"
    assert after(young, 0, 1, 1, 1, age=1, start_period=10).status == "unhealthy"
    assert after(young, 1, 1, 1, age=11, start_period=10).status == "unhealthy"


def test_probes_come_faster_in_the_start_period() -> None:
    check = WHOLE.replace(start_period=60.0)
    assert rules.before_next(check, Health(), 59) == 5
    assert rules.before_next(check, Health(), 60) == 30
    assert rules.before_next(check, Health(status="healthy"), 1) == 30
    assert rules.before_next(WHOLE, Health(), 0) == 30


def test_the_last_five_probes_are_remembered() -> None:
    health = Health()
    for number in range(8):
        health = rules.after(WHOLE, health, probe(number % 2, str(number)), 100)
    assert [each.output for each in health.log] == ["3", "4", "5", "6", "7"]
