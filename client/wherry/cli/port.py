"""port: which ports of the host lead to a container.

Owns its operands and lines; port_form has the words.
"""

from __future__ import annotations

from wherry.cli.parser import Command
from wherry_protocol.errors import NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.ports import PortBinding


def _configure(parser: Parser) -> None:
    parser.add_argument("ref", metavar="CONTAINER", nargs="?", help="all that run without")
    parser.add_argument("port", metavar="PORT[/udp]", nargs="?", help="this port of the container only")


def _port(client: Client, args: Namespace) -> int:
    if args.ref is None:
        for summary in client.list():
            for line in _lines(summary.ports):
                print(f"{summary.name} {line}")
    elif args.port is None:
        for line in _lines(client.inspect(args.ref).summary.ports):
            print(line)
    else:
        for binding in _of(client, args.ref, args.port):
            print(_host(binding))
    return 0


def _of(client: Client, ref: str, text: str) -> list[PortBinding]:
    from wherry.cli.ports import port_and_transport

    number, transport = port_and_transport(text, f"port {text!r}")
    found = [
        each
        for each in client.inspect(ref).summary.ports
        if (each.container_port, each.protocol) == (number, transport) and each.host_port is not None
    ]
    if not found:
        raise NotFound(f"container {ref}: its port {number}/{transport} is not published")
    return found


def _lines(bindings: Iterable[PortBinding]) -> list[str]:
    return [
        f"{each.container_port}/{each.protocol} -> {_host(each)}"
        for each in bindings
        if each.host_port is not None
    ]


def _host(binding: PortBinding) -> str:
    from wherry.port_form import host_text

    return host_text(binding)


COMMANDS = {"port": Command(configure=_configure, execute=_port)}
