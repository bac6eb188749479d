"""diff: what a container changed in its root file system.

Owns the form of its lines.
"""

from __future__ import annotations

from wherry.cli.parser import Command
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.files import Change


def _configure(parser: Parser) -> None:
    parser.description = f"{parser.description}: A added, C changed, D deleted"
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: an object a line")
    parser.add_argument("ref", metavar="CONTAINER")


def _diff(client: Client, args: Namespace) -> int:
    line = _json if args.format == "json" else _text
    with client.diff_stream(args.ref) as stream:
        for changes in stream:
            for change in changes.entries:
                print(line(change))
    return 0


def _text(change: Change) -> str:
    return f"{change.kind} {change.path}"


def _json(change: Change) -> str:
    import json

    return json.dumps({"Kind": change.kind, "Path": change.path})


COMMANDS = {"diff": Command(configure=_configure, execute=_diff)}
