"""load, tag, history: image archives into the store, names, and how an image came to be.

Owns their options and what they print.
"""

from __future__ import annotations

import sys
import time

from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry.cli.table import show_rows
from wherry.image_form import history_rows
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.system import Progress

_HISTORY_COLUMNS = (
    ("IMAGE", "ID"), ("CREATED", "CreatedSince"), ("CREATED BY", "CreatedBy"), ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)  # fmt: skip


def _configure_load(parser: Parser) -> None:
    parser.add_argument(
        "-i",
        "--input",
        metavar="FILE",
        help="an archive, or an OCI layout's directory; default: standard input",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _load(client: Client, args: Namespace) -> int:
    if args.input is None and sys.stdin.isatty():
        raise BadRequest("load: standard input is a terminal", hint="give -i FILE, or a pipe")
    source = sys.stdin.fileno() if args.input in (None, "-") else args.input
    with ProgressBar() as bar:
        images = client.load_images(source, on_progress=_unseen if args.quiet else bar.show)
    for image in images:
        for name in image.names:
            print(f"Loaded image: {name}")
        if not image.names:
            print(f"Loaded image ID: {image.digest}")
    return 0


def _unseen(_progress: Progress) -> None:
    """Show nothing."""


def _configure_tag(parser: Parser) -> None:
    parser.add_argument("source", metavar="IMAGE", help="a name or a digest")
    parser.add_argument("target", metavar="NAME", help="the name it gets as well, with or without a ':tag'")


def _tag(client: Client, args: Namespace) -> int:
    client.tag_image(args.source, args.target)
    return 0


def _configure_history(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids and steps")
    parser.add_argument("-H", "--human", default="true", choices=("true", "false"), help="sizes for people")
    parser.add_argument("--format", default="table", help="table, json, or a template such as {{.CreatedBy}}")
    parser.add_argument("ref", metavar="IMAGE", help="a name or a digest")


def _history(client: Client, args: Namespace) -> int:
    details = client.inspect_image(args.ref)
    rows = history_rows(details, time.time(), whole=args.no_trunc, human=args.human == "true")
    if args.quiet:
        for row in rows:
            print(row["ID"])
    else:
        show_rows(rows, args.format, _HISTORY_COLUMNS)
    return 0


COMMANDS = {
    "load": Command(configure=_configure_load, execute=_load),
    "tag": Command(configure=_configure_tag, execute=_tag),
    "history": Command(configure=_configure_history, execute=_history),
}
