"""save: images of the store as one archive, on standard output or in a file that appears when it is whole.

Owns its options, and that no terminal gets the bytes.
"""

from __future__ import annotations

import sys

from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    parser.add_argument("refs", metavar="IMAGE", nargs="+", help="a name (which goes along) or a digest")


def _save(client: Client, args: Namespace) -> int:
    if args.output is None:
        if sys.stdout.isatty():
            raise BadRequest("save: standard output is a terminal", hint="give -o FILE, or a pipe")
        _write(client, args.refs, sys.stdout.fileno())
        return 0
    from wherry.local_files import archive_file

    with archive_file(args.output) as file:
        _write(client, args.refs, file.fd)
        file.keep()
    return 0


def _write(client: Client, refs: list[str], fd: int) -> None:
    with ProgressBar() as bar:
        client.save_images(refs, fd, on_progress=bar.show)


COMMANDS = {"save": Command(configure=_configure, execute=_save)}
