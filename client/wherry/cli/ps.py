"""ps: the list of containers.

Owns its options and columns; docker_form has the words.
"""

from __future__ import annotations

import time

from wherry.cli.parser import Command
from wherry.cli.table import show_rows
from wherry.docker_form import container_row
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (
    ("CONTAINER ID", "ID"), ("IMAGE", "Image"), ("COMMAND", "Command"), ("CREATED", "RunningFor"),
    ("STATUS", "Status"), ("PORTS", "Ports"), ("NAMES", "Names"),
)  # fmt: skip


def parse_filter(
    text: str, known: str = "name, id, status, label, exited, ancestor, volume, network, health"
) -> tuple[str, str]:
    """Read KEY=VALUE; `known` are the keys that there are."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BadRequest(f"--filter {text!r}: expected KEY=VALUE", hint=known)
    return key, value


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="ended ones too")
    add("-q", "--quiet", action="store_true", help="ids only")
    add("--no-trunc", action="store_true", help="whole ids and commands")
    add("-f", "--filter", metavar="KEY=VALUE", action="append", default=[], help="name, id, status, label, …")
    add("--format", default="table", help="table, json, or a template such as {{.Names}}\\t{{.Status}}")


def _ps(client: Client, args: Namespace) -> int:
    summaries = client.list(all=args.all, filters=[parse_filter(text) for text in args.filter])
    now = time.time()
    rows = [container_row(summary, now, whole=args.no_trunc) for summary in summaries]
    if args.quiet:
        for row in rows:
            print(row["ID"])
    else:
        show_rows(rows, args.format, _COLUMNS)
    return 0


COMMANDS = {"ps": Command(configure=_configure, execute=_ps)}
