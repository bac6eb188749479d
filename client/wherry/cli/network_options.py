"""What `run` and `create` say of networks, names and name servers, and what it means.

Owns the grammar of these options. Must never check what only the supervisor can know.
"""

from __future__ import annotations

from wherry_protocol.errors import BadRequest
from wherry_protocol.networks import DEFAULT, EndpointSpec
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from wherry.cli.parser import Parser

_LONG = ("name", "ip", "ip6", "mac-address", "alias")


def add_network_options(parser: Parser) -> None:
    """Add the options."""
    _add_several(
        parser, ("--network", "--net"), "NETWORK",
        "bridge, none, host, container:NAME, or a network; at length name=,ip=,ip6=,mac-address=,alias=",
    )  # fmt: skip
    _add_several(parser, ("--network-alias", "--net-alias"), "NAME", "one more name on its first network")
    for option, what in (
        ("--ip", "IPv4 address"),
        ("--ip6", "IPv6 address"),
        ("--mac-address", "MAC address"),
    ):
        parser.add_argument(option, metavar="ADDRESS", help=f"the {what} on its first network")
    _add_several(parser, ("--dns",), "ADDRESS", "a name server, instead of the host's")
    _add_several(parser, ("--dns-search",), "DOMAIN", "a search domain, instead of the host's; '.' for none")
    _add_several(parser, ("--dns-option", "--dns-opt"), "OPTION", "an option of resolv.conf, as ndots:2")
    _add_several(parser, ("--add-host",), "NAME:IP", "one more line in /etc/hosts; IP may be host-gateway")


def _add_several(parser: Parser, options: tuple[str, ...], metavar: str, text: str) -> None:
    parser.add_argument(*options, metavar=metavar, action="append", default=[], help=text)


def network_fields(args: Namespace) -> dict[str, Any]:
    """Return the fields of a specification that the options mean. Raises BadRequest."""
    asked = [endpoint(text) for text in args.network] or [EndpointSpec(network=DEFAULT)]
    first = asked[0]
    asked[0] = first.replace(
        ip=args.ip or first.ip,
        ip6=args.ip6 or first.ip6,
        mac_address=args.mac_address or first.mac_address,
        aliases=(*first.aliases, *args.network_alias),
    )
    plain = [each == EndpointSpec(network=each.network) for each in asked]
    return {
        "network": first.network,
        "endpoints": () if plain == [True] else tuple(asked),
        "dns": tuple(args.dns),
        "dns_search": tuple(args.dns_search),
        "dns_options": tuple(args.dns_option),
        "extra_hosts": tuple(map(_extra_host, args.add_host)),
    }


def endpoint(text: str) -> EndpointSpec:
    """Read NETWORK, or KEY=VALUE,… with its name among them."""
    if "=" not in text:
        return EndpointSpec(network=text)
    found: dict[str, str] = {}
    aliases: list[str] = []
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in _LONG or not value:
            raise BadRequest(
                f"--network {text!r}: {part!r} is not understood", hint=f"known: {', '.join(_LONG)}"
            )
        if key == "alias":
            aliases.append(value)
        else:
            found[key.replace("-", "_")] = value
    name = found.pop("name", None)
    if name is None:
        raise BadRequest(f"--network {text!r}: name= is missing")
    return EndpointSpec(network=name, aliases=tuple(aliases), **found)


def _extra_host(text: str) -> str:
    """Read NAME:IP or NAME=IP."""
    separator = min((mark for mark in ":=" if mark in text), key=text.index, default="")
    name, _, address = text.partition(separator) if separator else (text, "", "")
    if not name or not address:
        raise BadRequest(f"--add-host {text!r}: expected NAME:IP", hint="or NAME:host-gateway")
    return f"{name}:{address}"
