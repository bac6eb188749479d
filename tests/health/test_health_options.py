"""The options that say how health is found out, and how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry import BadRequest, Health, HealthCheck, Probe
from wherry.cli.health_options import add_health_options, health_check
from wherry.cli.parser import Parser
from wherry.docker_form import status
from wherry.human import parse_duration
from wherry_protocol.container_state import ContainerSummary

if TYPE_CHECKING:
    from argparse import Namespace


def parsed(*argv: str) -> Namespace:
    parser = Parser("run", "")
    add_health_options(parser)
    return parser.parse(list(argv))


def test_every_option_has_its_place() -> None:
    args = parsed(
        "--health-cmd", "ping -c 1 here", "--health-interval", "1m30s", "--health-timeout", "500ms",
        "--health-retries", "5", "--health-start-period", "2h", "--health-start-interval", "1s",
    )  # fmt: skip
    assert health_check(args) == HealthCheck(
        test=("CMD-SHELL", "ping -c 1 here"), interval=90.0, timeout=0.5, retries=5, start_period=7200.0,
        start_interval=1.0,
    )  # fmt: skip


def test_nothing_given_is_the_images() -> None:
    assert health_check(parsed()) is None


def test_no_healthcheck_is_none() -> None:
    assert health_check(parsed("--no-healthcheck")) == HealthCheck(test=("NONE",))


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--no-healthcheck", "--health-cmd", "true"), "--no-healthcheck does not go together with"),
        (("--no-healthcheck", "--health-retries", "0"), "--no-healthcheck does not go together with"),
        (("--health-cmd", " "), "--health-cmd: the command is empty"),
        (("--health-interval", "30"), "--health-interval: '30' is no duration"),
        (("--health-interval=-1s",), "--health-interval: '-1s' is no duration"),
        (("--health-start-period", "soon"), "--health-start-period: 'soon' is no duration"),
        (("--health-timeout", ""), "--health-timeout: '' is no duration"),
        (("--health-retries", "many"), "--health-retries 'many': expected a number"),
        (("--health-retries", "1" * 10), "expected a number"),
    ],
)
def test_what_cannot_be_is_one_line(argv: tuple[str, ...], text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        health_check(parsed(*argv))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("1d", 86400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--time") == seconds


def summary(**fields: object) -> ContainerSummary:
    whole = {
        "id": "1", "name": "web", "image": "i", "command": ("c",), "state": "running", "created_at": 0.0,
        "started_at": 1.0, **fields,
    }  # fmt: skip
    return ContainerSummary(**whole)  # type: ignore[arg-type]  # its fields


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"health": "starting"}, "Up 5 seconds (health: starting)"),
        ({"health": "healthy"}, "Up 5 seconds (healthy)"),
        ({"health": "unhealthy"}, "Up 5 seconds (unhealthy)"),
        ({"health": "healthy", "state": "paused"}, "Up 5 seconds (Paused)"),
        ({}, "Up 5 seconds"),
    ],
)
def test_the_status_has_the_health_in_dockers_words(fields: dict[str, object], words: str) -> None:
    assert status(summary(**fields), 6.0) == words


def test_health_travels_whole() -> None:
    probe = Probe(started_at=1.5, ended_at=2.5, exit_code=-1, output="no")
    health = Health(status="unhealthy", failing_streak=3, log=(probe,))
    assert Health.from_wire(health.to_wire()) == health
