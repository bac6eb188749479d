"""network create, ls, rm, connect, disconnect.

Owns their options and columns; network_form has the words.
"""

from __future__ import annotations

from wherry.cli.parser import Command
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (
    ("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope"), ("SUBNETS", "Subnets")
)  # fmt: skip
_KEYS = "name, id, label, driver, type, dangling, scope"


def _configure_create(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--subnet", metavar="CIDR", action="append", default=[],
        help="its addresses, of IPv4, IPv6 or (twice) both; one that is free without",
    )  # fmt: skip
    add("--gateway", metavar="IP", action="append", default=[], help="the host's address in it (the first)")
    add("--internal", action="store_true", help="nothing outside of it can be reached, nor reach it")
    add("--ipv6", action="store_true", help="have IPv6, too")
    add(
        "--icc",
        choices=("true", "false"),
        default="true",
        help="whether its containers reach each other (true)",
    )
    add("--label", metavar="KEY[=VALUE]", action="append", default=[], help="attach a label")
    add("-d", "--driver", default="bridge", help="there is one: bridge")
    add("name", metavar="NAME")
    add("cidr", metavar="CIDR", nargs="?", help="as --subnet")


def _create(client: Client, args: Namespace) -> int:
    from wherry.cli.options import labels

    network = client.create_network(
        args.name,
        subnets=[*args.subnet, *([args.cidr] if args.cidr is not None else [])],
        gateways=args.gateway,
        internal=args.internal,
        ipv6=args.ipv6,
        icc=args.icc == "true",
        labels=labels(args.label),
        driver=args.driver,
    )
    print(network.id)
    return 0


def _configure_ls(parser: Parser) -> None:
    add = parser.add_argument
    add("-q", "--quiet", action="store_true", help="ids only")
    add("--no-trunc", action="store_true", help="print whole ids")
    add("-f", "--filter", metavar="KEY=VALUE", action="append", default=[], help=_KEYS)
    add("--format", default="table", help="table, json, or a template such as {{.Name}}")


def _ls(client: Client, args: Namespace) -> int:
    from wherry.cli.ps import parse_filter
    from wherry.cli.table import show_rows
    from wherry.network_form import network_row

    found = client.networks(filters=[parse_filter(text, _KEYS) for text in args.filter])
    rows = [network_row(network, whole=args.no_trunc) for network in found]
    if args.quiet:
        for row in rows:
            print(row["ID"])
    else:
        show_rows(rows, args.format, _COLUMNS)
    return 0


def _configure_rm(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("refs", metavar="NETWORK", nargs="+")


def _rm(client: Client, args: Namespace) -> int:
    from wherry.cli.lifecycle import for_each
    from wherry_protocol.errors import NotFound

    def act(ref: str) -> str:
        try:
            client.remove_network(ref)
        except NotFound:
            if not args.force:
                raise
        return ref

    return for_each(args.refs, act)


def _configure_connect(parser: Parser) -> None:
    add = parser.add_argument
    for option, what in (
        ("--ip", "IPv4 address"),
        ("--ip6", "IPv6 address"),
        ("--mac-address", "MAC address"),
    ):
        add(option, metavar="ADDRESS", help=f"the {what} to have there")
    add("--alias", metavar="NAME", action="append", default=[], help="one more name there")
    add("network", metavar="NETWORK")
    add("ref", metavar="CONTAINER")


def _connect(client: Client, args: Namespace) -> int:
    client.connect_network(
        args.network, args.ref, ip=args.ip, ip6=args.ip6, mac_address=args.mac_address, aliases=args.alias
    )
    return 0


def _configure_disconnect(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="one that is not on it is fine")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("ref", metavar="CONTAINER")


def _disconnect(client: Client, args: Namespace) -> int:
    client.disconnect_network(args.network, args.ref, force=args.force)
    return 0


COMMANDS = {
    "network create": Command(configure=_configure_create, execute=_create),
    "network ls": Command(configure=_configure_ls, execute=_ls),
    "network list": Command(configure=_configure_ls, execute=_ls),
    "network rm": Command(configure=_configure_rm, execute=_rm),
    "network remove": Command(configure=_configure_rm, execute=_rm),
    "network connect": Command(configure=_configure_connect, execute=_connect),
    "network disconnect": Command(configure=_configure_disconnect, execute=_disconnect),
}
