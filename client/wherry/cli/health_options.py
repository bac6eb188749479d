"""The options of `run` and `create` that say how a container's health is found out.

Owns their grammar. Must never decide what the image says, or check what the supervisor checks.
"""

from __future__ import annotations

from wherry.human import parse_duration
from wherry_protocol.errors import BadRequest
from wherry_protocol.health import HealthCheck
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser

_TIMES = ("interval", "timeout", "start_period", "start_interval")


def add_health_options(parser: Parser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--health-cmd", metavar="COMMAND", help="a shell command in the container; code 0 is healthy")
    add("--health-interval", metavar="TIME", help="between two probes, such as 1m30s (30s)")
    add("--health-timeout", metavar="TIME", help="what one probe may take (30s)")
    add("--health-retries", metavar="N", help="failures in a row that make it unhealthy (3)")
    add("--health-start-period", metavar="TIME", help="after the start, when failures do not count (0s)")
    add("--health-start-interval", metavar="TIME", help="between two probes in that period (5s)")
    add("--no-healthcheck", action="store_true", help="no probes, whatever the image says")


def health_check(args: Namespace) -> HealthCheck | None:
    """Return the healthcheck that the options mean; None is the image's. Raises BadRequest."""
    times = {name: _time(args, name) for name in _TIMES}
    retries = _retries(args.health_retries)
    given = HealthCheck(test=_test(args.health_cmd), retries=retries, **times)
    if given == HealthCheck():
        return HealthCheck(test=("NONE",)) if args.no_healthcheck else None
    if args.no_healthcheck:
        raise BadRequest("--no-healthcheck does not go together with --health-… options")
    return given


def _test(command: str | None) -> tuple[str, ...]:
    if command is None:
        return ()
    if not command.strip():
        raise BadRequest("--health-cmd: the command is empty", hint="--no-healthcheck turns probes off")
    return ("CMD-SHELL", command)


def _time(args: Namespace, name: str) -> float | None:
    text: str | None = getattr(args, f"health_{name}")
    return None if text is None else parse_duration(text, f"--health-{name.replace('_', '-')}")


def _retries(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004 - far more than anybody waits
        raise BadRequest(f"--health-retries {text!r}: expected a number")
    return int(text)
