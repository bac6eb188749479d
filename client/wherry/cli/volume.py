"""volume create, ls, rm.

Owns their options and columns; volume_form has the words.
"""

from __future__ import annotations

from wherry.cli.parser import Command
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))


def _configure_create(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one is made up without")
    parser.add_argument("--label", metavar="KEY[=VALUE]", action="append", default=[], help="attach a label")
    parser.add_argument("-d", "--driver", choices=("local",), default="local", help="there is one: local")


def _create(client: Client, args: Namespace) -> int:
    from wherry.cli.options import labels

    print(client.create_volume(args.name, labels=labels(args.label)).name)
    return 0


def _configure_ls(parser: Parser) -> None:
    add = parser.add_argument
    add("-q", "--quiet", action="store_true", help="names only")
    add(
        "-f", "--filter", metavar="KEY=VALUE", action="append", default=[],
        help="name, label, dangling=true, driver",
    )  # fmt: skip
    add("--format", default="table", help="table, json, or a template such as {{.Name}}")


def _ls(client: Client, args: Namespace) -> int:
    from wherry.cli.ps import parse_filter
    from wherry.cli.table import show_rows
    from wherry.volume_form import volume_row

    hint = "name, label, dangling, driver"
    rows = [
        volume_row(volume)
        for volume in client.volumes(filters=[parse_filter(text, hint) for text in args.filter])
    ]
    if args.quiet:
        for row in rows:
            print(row["Name"])
    else:
        show_rows(rows, args.format, _COLUMNS)
    return 0


def _configure_rm(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("refs", metavar="VOLUME", nargs="+")


def _rm(client: Client, args: Namespace) -> int:
    from wherry.cli.lifecycle import for_each
    from wherry_protocol.errors import NotFound

    def act(ref: str) -> str:
        try:
            client.remove_volume(ref)
        except NotFound:
            if not args.force:
                raise
        return ref

    return for_each(args.refs, act)


COMMANDS = {
    "volume create": Command(configure=_configure_create, execute=_create),
    "volume ls": Command(configure=_configure_ls, execute=_ls),
    "volume rm": Command(configure=_configure_rm, execute=_rm),
}
