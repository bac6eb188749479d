"""-p, -P and --expose: the options; ports.py has the grammar of their values."""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from wherry.cli.parser import Parser


def add_port_options(parser: Parser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "-p",
        "--publish",
        metavar="[[IP:]HOST:]PORT[/udp]",
        action="append",
        default=[],
        help="have a port reachable at the host's; also ranges, and HOST=PORT",
    )
    add("-P", "--publish-all", action="store_true", help="publish every exposed port at a free one")
    add(
        "--expose",
        metavar="PORT[/udp]",
        action="append",
        default=[],
        help="say that the container listens there",
    )


def port_fields(args: Namespace) -> dict[str, Any]:
    """Return the fields of a RunSpec that the options mean. Raises BadRequest."""
    if not (args.publish or args.publish_all or args.expose):
        return {}
    from wherry.cli import ports

    if args.publish or args.publish_all:
        _say_if_in_vain(args.network[:1])
    return {
        "ports": ports.publish(args.publish),
        "publish_all": args.publish_all,
        "expose": ports.exposed(args.expose),
    }


_IN_VAIN = {
    "host": "-p has no effect with the host's network: the container's ports are the host's",
    "none": "-p has no effect without a network: nobody reaches the container",
}


def _say_if_in_vain(networks: list[str]) -> None:
    said = next((_IN_VAIN[each] for each in networks if each in _IN_VAIN), None)
    if said is not None:
        from wherry.cli.main import complain

        complain(said)
