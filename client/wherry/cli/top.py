"""top: the processes of a container, once or again and again.

Owns its fields and their headings.
"""

from __future__ import annotations

import sys
import time

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry.cli.screen import redraw
from wherry.cli.table import show_json_lines, table_lines
from wherry.human import human_size
from wherry.rfc3339 import rfc3339_seconds
from wherry_protocol.errors import BadRequest, Conflict, NotFound
from wherry_protocol.typed import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.processes import Process

DEFAULT = "pid,cpid,user,cpu,rss,start,state,command"
INTERVAL = 2.0
"""Seconds between redraws."""

_DAY = 86400


def _command(process: Process) -> str:
    return " ".join(process.args) if process.args else f"[{process.comm}]"


def _start(process: Process) -> str:
    started = time.localtime(process.started_at)
    return time.strftime("%H:%M" if time.time() - process.started_at < _DAY else "%b%d", started)


def clock(seconds: float) -> str:
    """Return "1:02:03" or "2:03"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


FIELDS: dict[str, tuple[str, Callable[[Process], Any], Callable[[Process], str]]] = {
    "pid": ("PID", lambda p: p.pid, lambda p: str(p.pid)),
    "cpid": ("CPID", lambda p: p.cpid, lambda p: "-" if p.cpid is None else str(p.cpid)),
    "ppid": ("PPID", lambda p: p.ppid, lambda p: str(p.ppid)),
    "pgid": ("PGID", lambda p: p.pgid, lambda p: str(p.pgid)),
    "sid": ("SID", lambda p: p.sid, lambda p: str(p.sid)),
    "user": ("USER", lambda p: p.user, lambda p: p.user),
    "uid": ("UID", lambda p: p.uid, lambda p: str(p.uid)),
    "gid": ("GID", lambda p: p.gid, lambda p: str(p.gid)),
    "cpu": ("CPU", lambda p: round(p.cpu_percent, 1), lambda p: f"{p.cpu_percent:.1f}%"),
    "time": ("TIME", lambda p: p.cpu_seconds, lambda p: clock(p.cpu_seconds)),
    "rss": ("RSS", lambda p: p.rss, lambda p: human_size(p.rss)),
    "vsz": ("VSZ", lambda p: p.vsize, lambda p: human_size(p.vsize)),
    "threads": ("THREADS", lambda p: p.threads, lambda p: str(p.threads)),
    "nice": ("NICE", lambda p: p.nice, lambda p: str(p.nice)),
    "tty": ("TTY", lambda p: p.tty, lambda p: p.tty or "-"),
    "start": ("START", lambda p: rfc3339_seconds(p.started_at), _start),
    "elapsed": (
        "ELAPSED",
        lambda p: round(time.time() - p.started_at, 2),
        lambda p: clock(time.time() - p.started_at),
    ),
    "state": ("STATE", lambda p: p.state, lambda p: p.state),
    "comm": ("COMM", lambda p: p.comm, lambda p: p.comm),
    "command": ("COMMAND", lambda p: [*p.args] or [f"[{p.comm}]"], _command),
}
"""By name: heading, value for JSON, text for people."""


def parse_fields(text: str) -> list[str]:
    """Read names of fields with commas between. Raises BadRequest."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in FIELDS:
            raise BadRequest(f"-o {text!r}: there is no field {name!r}", hint=", ".join(FIELDS))
    return names


class Usage:
    """Turns the average use of the processors over a process's life into that since the last look."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], float] = {}
        self._at = 0.0

    def since_last(self, processes: Sequence[Process], now: float) -> list[Process]:
        """Return the processes with `cpu_percent` since the last call; `now` is a monotonic time."""
        passed, before = now - self._at, self._before
        self._at, self._before = now, {_life(process): process.cpu_seconds for process in processes}
        return [
            process.replace(cpu_percent=100 * (process.cpu_seconds - before[_life(process)]) / passed)
            if passed and _life(process) in before
            else process
            for process in processes
        ]


def _life(process: Process) -> tuple[int, int]:
    """Tell a process from a later one of the same id."""
    return process.pid, round(process.started_at)


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("-o", "--fields", metavar="FIELD,…", default=DEFAULT, help=f"{', '.join(FIELDS)}")
    add("--format", choices=("table", "json"), default="table", help="json: an object a line")
    add("-w", "--watch", action="store_true", help="show it again and again")
    add("--interval", metavar="SECONDS", type=float, default=INTERVAL, help="between looks (2)")
    add("ref", metavar="CONTAINER")


def _top(client: Client, args: Namespace) -> int:
    names = parse_fields(args.fields)
    if not 0 < args.interval <= _DAY:
        raise BadRequest(f"--interval {args.interval}: expected seconds, up to a day")
    if not args.watch:
        _show(client.top(args.ref), names, args.format)
        return 0
    try:
        return _watch(client, args, names)
    except KeyboardInterrupt:
        return 0  # that is how one leaves it


def _watch(client: Client, args: Namespace, names: list[str]) -> int:
    usage, seen = Usage(), False
    screen = args.format == "table" and sys.stdout.isatty()
    while True:
        try:
            processes = client.top(args.ref)
        except (Conflict, NotFound):
            if not seen:
                raise
            complain(f"container {args.ref} ended")
            return 0
        seen = True
        looked = usage.since_last(processes, time.monotonic())
        if screen:
            redraw([_head(args.ref, len(looked)), "", *_lines(looked, names)])
        else:
            _show(looked, names, args.format)
        sys.stdout.flush()
        time.sleep(args.interval)


def _show(processes: Sequence[Process], names: list[str], format_: str) -> None:
    if format_ == "json":
        show_json_lines([{name: FIELDS[name][1](process) for name in names} for process in processes])
    else:
        for line in _lines(processes, names):
            print(line)


def _lines(processes: Sequence[Process], names: list[str]) -> list[str]:
    headings = [FIELDS[name][0] for name in names]
    return table_lines([headings, *[[FIELDS[name][2](process) for name in names] for process in processes]])


def _head(ref: str, count: int) -> str:
    return f"{ref}: {count} process{'' if count == 1 else 'es'}, {time.strftime('%H:%M:%S')}"


COMMANDS = {"top": Command(configure=_configure, execute=_top)}
