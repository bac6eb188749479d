"""stats: what containers use, once or again and again.

Owns its options and columns; stats_form has the words.
"""

from __future__ import annotations

import sys

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry.cli.screen import redraw
from wherry.cli.table import show_json_lines, show_rows, table_lines
from wherry.stats_form import stats_document, stats_row
from wherry_protocol.errors import BadRequest
from wherry_protocol.stats import DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.stats import Stats

_COLUMNS = (
    ("CONTAINER ID", "ID"), ("NAME", "Name"), ("CPU %", "CPUPerc"), ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"), ("MEM PEAK", "MemPeak"), ("NET I/O", "NetIO"), ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"), ("PRESSURE C/M/IO", "Pressure"),
)  # fmt: skip


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="those that do not run, too")
    add("--no-stream", action="store_true", help="look once: at the use of half a second")
    add("--no-trunc", action="store_true", help="whole ids")
    add(
        "--format",
        default="table",
        help="table, json (an object a line, with every number), or a template: {{.Name}}\\t{{.CPUPerc}}",
    )
    add("--interval", metavar="SECONDS", type=float, default=DEFAULT_INTERVAL, help="between looks (1)")
    add("refs", metavar="CONTAINER", nargs="*", help="default: all that run")


def _stats(client: Client, args: Namespace) -> int:
    if not MIN_INTERVAL <= args.interval <= MAX_INTERVAL:
        raise BadRequest(f"--interval {args.interval:g}: expected seconds, from {MIN_INTERVAL} up to a day")
    try:
        return _watch(client, args)
    except KeyboardInterrupt:
        return 0  # that is how one leaves it


def _watch(client: Client, args: Namespace) -> int:
    screen = args.format == "table" and not args.no_stream and sys.stdout.isatty()
    with client.watch_stats(args.refs, all=args.all, interval=args.interval) as samples:
        for sample in samples:
            if screen:
                redraw(_table(sample.containers, whole=args.no_trunc))
            else:
                _show(sample.containers, args)
            sys.stdout.flush()
            if args.no_stream:
                return 0
    complain(f"{', '.join(args.refs)}: ended")
    return 0


def _show(looked: Sequence[Stats], args: Namespace) -> None:
    if args.format == "json":
        show_json_lines([stats_document(each, whole=args.no_trunc) for each in looked])
    else:
        show_rows([stats_row(each, whole=args.no_trunc) for each in looked], args.format, _COLUMNS)


def _table(looked: Sequence[Stats], *, whole: bool) -> list[str]:
    rows = [stats_row(each, whole=whole) for each in looked]
    return table_lines(
        [[title for title, _ in _COLUMNS], *[[row[key] for _, key in _COLUMNS] for row in rows]]
    )


COMMANDS = {"stats": Command(configure=_configure, execute=_stats)}
