"""system df: what takes room.

Owns its options and tables; usage_form has the rows.
"""

from __future__ import annotations

import time

from wherry.cli.parser import Command
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (
    ("TYPE", "Type"), ("TOTAL", "TotalCount"), ("ACTIVE", "Active"), ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
)  # fmt: skip
_DETAILS = (
    ("Images", "Images space usage:", (
        ("NAME", "Name"), ("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size"),
        ("SHARED SIZE", "SharedSize"), ("UNIQUE SIZE", "UniqueSize"), ("CONTAINERS", "Containers"),
    )),
    ("Containers", "Containers space usage:", (
        ("CONTAINER ID", "ID"), ("IMAGE", "Image"), ("COMMAND", "Command"), ("LOCAL VOLUMES", "LocalVolumes"),
        ("SIZE", "Size"), ("CREATED", "RunningFor"), ("STATUS", "Status"), ("NAMES", "Names"),
    )),
    ("Volumes", "Local Volumes space usage:", (
        ("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size"),
    )),
)  # fmt: skip


def _configure(parser: Parser) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="every image, container and volume")
    parser.add_argument("--format", default="table", help="table, json, or a template such as {{.Type}}")


def _df(client: Client, args: Namespace) -> int:
    from wherry.cli.table import show_rows
    from wherry.usage_form import usage_rows

    if args.verbose:
        return _verbose(client, args.format)
    show_rows(usage_rows(client.disk_usage()), args.format, _COLUMNS)
    return 0


def _verbose(client: Client, format_: str) -> int:
    from wherry.cli.table import print_table, show_json_lines
    from wherry.usage_form import usage_document

    if format_ not in {"table", "json"}:
        raise BadRequest("--format: with -v it is table or json", hint="leave -v out for a template")
    document = usage_document(client.disk_usage(), time.time())
    if format_ == "json":
        show_json_lines([document])
        return 0
    for number, (key, title, columns) in enumerate(_DETAILS):
        print(f"\n{title}\n" if number else f"{title}\n", flush=True)
        rows = [[str(row[name]) for _heading, name in columns] for row in document[key]]
        print_table([[heading for heading, _name in columns], *rows])
    return 0


COMMANDS = {"system df": Command(configure=_configure, execute=_df)}
