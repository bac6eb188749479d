"""events: what happens, a line each, as it happens or since a time.

Owns its options and the forms of a line.
"""

from __future__ import annotations

import re
import sys
import time

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry.cli.ps import parse_filter
from wherry.docker_form import printable
from wherry.human import parse_time
from wherry.rfc3339 import rfc3339
from wherry_protocol.event_log import Event, Missed
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.parser import Parser
    from wherry.client import Client

_NANO = 1_000_000_000
_FILTERS = "container, event, type, label, image, volume"
_NUMBER = re.compile(r"seq:(\d{1,18})", re.ASCII)


def event_document(event: Event) -> dict[str, Any]:
    """Return an event with docker's field names, and its number."""
    attributes = dict(event.attributes)
    document: dict[str, Any] = {
        "seq": event.seq, "Type": event.type, "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": attributes}, "scope": "local",
        "time": event.time // _NANO, "timeNano": event.time,
    }  # fmt: skip
    if event.type == "container":
        document |= {"status": event.action, "id": event.actor, "from": attributes.get("image", "")}
    return document


def event_line(event: Event) -> str:
    """Return an event as docker prints it, its number before what it is about."""
    facts = ", ".join(f"{key}={value}" for key, value in sorted(event.attributes.items()))
    text = f"{rfc3339(event.time)} #{event.seq} {event.type} {event.action} {event.actor} ({facts})"
    return printable(text)


def parse_since(text: str, now: float) -> tuple[int | None, float | None]:
    """Read "seq:1234" as (number, None), and a time as (None, seconds since the epoch)."""
    match = _NUMBER.fullmatch(text)
    return (int(match[1]), None) if match else (None, parse_time(text, now, "--since"))


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("--since", metavar="TIME", help="from a time on (2026-01-31T12:00:00Z, 10m), or after seq:NUMBER")
    add("--until", metavar="TIME", help="end there: a time, or 0s for what there is now")
    add(
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=_FILTERS,
    )
    add("--format", metavar="FORM", help="json (one object a line), or a template such as {{.Action}}")


def _events(client: Client, args: Namespace) -> int:
    now = time.time()
    after, since = parse_since(args.since, now) if args.since else (None, None)
    until = parse_time(args.until, now, "--until") if args.until else None
    show = _shower(args.format)
    filters = [parse_filter(text, _FILTERS) for text in args.filter]
    with client.events(after=after, since=since, until=until, filters=filters) as events:
        for event in events:
            show(event)
            sys.stdout.flush()
    return 0


def _shower(format_: str | None) -> Callable[[Event | Missed], None]:
    if format_ is None:
        return _show_line
    if format_ == "json":
        return _show_json
    from wherry.cli.template import compile_template

    template = compile_template(format_)

    def show(event: Event | Missed) -> None:
        if isinstance(event, Missed):
            complain(_missed_words(event))
        else:
            print(template.render(event_document(event)))

    return show


def _show_line(event: Event | Missed) -> None:
    if isinstance(event, Missed):
        complain(_missed_words(event))
    else:
        print(event_line(event))


def _show_json(event: Event | Missed) -> None:
    import json

    if isinstance(event, Missed):
        print(json.dumps({"missed": event.count, "from": event.first, "to": event.last}))
    else:
        print(json.dumps(event_document(event)))


def _missed_words(missed: Missed) -> str:
    return f"missed {missed.count} events, #{missed.first} to #{missed.last}: they are not kept any more"


COMMANDS = {"events": Command(configure=_configure, execute=_events)}
