"""logs: what a container has printed, and goes on printing.

Owns its options and the times at line starts.
"""

from __future__ import annotations

import time

from wherry.cli.main import complain
from wherry.cli.output import gap_words, write_all
from wherry.cli.parser import Command
from wherry.human import parse_time
from wherry.rfc3339 import rfc3339
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.containers import Output


class LineStamper:
    """Puts the time of arrival before each line, for each stream by itself."""

    def __init__(self) -> None:
        self._inside_line = {1: False, 2: False}

    def stamp(self, output: Output) -> bytes:
        """Return the output with a time before every line that starts in it."""
        prefix = rfc3339(output.time).encode() + b" "
        lines = _lines(output.data)
        inside = self._inside_line[output.stream]
        self._inside_line[output.stream] = not output.data.endswith(b"\n")
        return b"".join(line if inside and index == 0 else prefix + line for index, line in enumerate(lines))


def _lines(data: bytes) -> list[bytes]:
    """Split at newlines only: a carriage return starts no line of a log."""
    *lines, last = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([last] if last else [])


def parse_tail(text: str) -> int | None:
    """Read a number of lines, or "all"."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"--tail {text!r}: expected a number of lines, or all")
    return int(text)


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until the container ends")
    add("-n", "--tail", metavar="N", default="all", help="only the last N lines")
    add("--since", metavar="TIME", help="2026-01-31T12:00:00Z, seconds since 1970, or 10m (ago)")
    add("--until", metavar="TIME", help="as --since")
    add("-t", "--timestamps", action="store_true", help="the time before every line")
    add("ref", metavar="CONTAINER")


def _logs(client: Client, args: Namespace) -> int:
    now = time.time()
    since = parse_time(args.since, now, "--since") if args.since else None
    until = parse_time(args.until, now, "--until") if args.until else None
    stamper = LineStamper() if args.timestamps else None
    tail = parse_tail(args.tail)
    with client.log_stream(args.ref, follow=args.follow, tail=tail, since=since, until=until) as outputs:
        for output in outputs:
            if output.gap is not None:
                complain(gap_words(output.gap))
            write_all(output.stream, stamper.stamp(output) if stamper else output.data)
    return 0


COMMANDS = {"logs": Command(configure=_configure, execute=_logs)}
