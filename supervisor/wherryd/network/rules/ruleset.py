"""What our nftables tables hold, as scripts in nft(8)'s language: pure, from values to text.

Two tables of the supervisor's own, both named after its instance: others' tables are never touched.

    inet     masquerade, published ports, and who may send to whom
    bridge   a container sends from its own addresses only

Every rule is written once, when the tables are made; what comes and goes are elements of sets and maps, so
that publishing a port, however many there are, is one element in one transaction. Must never take text from
a user: names of links are ours, and addresses are `ipaddress` values or were made from them.

Why 127.0.0.1 is no hole. A port published there is reached from the host itself: its packets are given
another destination on their way out, and `route_localnet` is set on our own bridges, nowhere else, so that
the kernel lets them through. What comes from any link but `lo` with an address in 127.0.0.0/8 is dropped
before anything looks at it, in both tables, so neither a neighbour on the wire nor a container gets there.
The kernel has no such setting for ::1; relay/ serves it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from wherryd.network.rules.tables import BURST, CALL_BURST, CALL_RATE, MARKING, PUBLISHED, QUICK, RATE, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network

Elements = dict[str, list[str]]
"""By "family set": the elements of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A network's bridge. `gateways` are the host's addresses on it, each with its subnet's prefix length.

    `names` is the port at which the network's name server listens on each of them, 0 for none.
    """

    link: str
    gateways: tuple[str, ...]
    internal: bool = False
    icc: bool = True
    names: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A container's link on the host's side, and what it may send from."""

    link: str
    mac: str
    addresses: tuple[str, ...]
    icc: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A published port. `host_ip` is "" for every address of `address`'s family."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def elements_of(
    bridges: Iterable[Bridge] = (), guards: Iterable[Guard] = (), forwards: Iterable[Forward] = ()
) -> Elements:
    """Return what these things are in our sets and maps."""
    found: Elements = defaultdict(list)
    for bridge in bridges:
        _add_bridge(found, bridge)
    for guard in guards:
        _add_guard(found, guard)
    for forward in forwards:
        _add_forward(found, forward)
    return found


def adding(table: str, elements: Elements) -> str:
    """Return the script that adds elements."""
    return _changing("add", table, elements)


def deleting(table: str, elements: Elements) -> str:
    """Return the script that deletes elements; it fails as a whole when one of them is not there."""
    return _changing("delete", table, {name: _keys(found) for name, found in elements.items()})


def whole(table: str, elements: Elements) -> str:
    """Return the script that replaces both tables, whatever they hold, by the rules and these elements."""
    asked, called = (
        f"{rate}/second burst {burst} packets" for rate, burst in ((RATE, BURST), (CALL_RATE, CALL_BURST))
    )
    rules = TABLES + MARKING if elements.get("inet apart") else TABLES
    rules = rules.replace("TABLE", table).replace("PUBLISHED", PUBLISHED).replace("ASKED", asked)
    rules = rules.replace("CALLED", called).replace("QUICK", "" if elements.get("inet internal") else QUICK)
    return removing(table) + rules + adding(table, elements)


def removing(table: str) -> str:
    """Return the script that removes both tables, if they are there."""
    return "".join(
        f"add table {family} {table}\ndelete table {family} {table}\n" for family in ("inet", "bridge")
    )


def link_local(mac: str) -> IPv6Address:
    """Return the address that the kernel gives an interface by its MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(
        b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    )


def _changing(verb: str, table: str, elements: Mapping[str, list[str]]) -> str:
    lines = [
        f"{verb} element {name.replace(' ', f' {table} ', 1)} {{ {', '.join(found)} }}\n"
        for name, found in elements.items()
    ]
    return "".join(lines)


def _keys(found: list[str]) -> list[str]:
    return [element.partition(" : ")[0] for element in found]


def _add_bridge(found: Elements, bridge: Bridge) -> None:
    link = f'"{bridge.link}"'
    found["inet bridges"].append(link)
    found["inet leaving"].append(f"{link} : goto {'within' if bridge.internal else 'outward'}")
    found["inet entering"].append(f"{link} : goto {'within' if bridge.internal else 'inward'}")
    if bridge.internal:
        found["inet internal"].append(link)
    if bridge.icc:
        found["inet same"].append(f"{link} . {link}")
    else:
        found["inet apart"].append(link)
    for text in bridge.gateways:
        gateway, subnet = ip_address(text.partition("/")[0]), ip_network(text, strict=False)
        version = gateway.version
        found[f"inet gateways{version}"].append(f"{link} . {gateway}")
        found[f"inet hosts{version}"].append(str(gateway))
        found[f"inet networks{version}"].append(f"{link} . {_interval(subnet)}")
        if not bridge.internal:
            found[f"inet outward{version}"].append(str(subnet))
        if bridge.names:
            found[f"inet named{version}"].append(f"{link} . {gateway}")
            found[f"inet names{version}"] += [
                f"{link} . {gateway} . {transport} : {bridge.names}" for transport in ("tcp", "udp")
            ]


def _interval(subnet: IPv4Network | IPv6Network) -> str:
    return f"{subnet[0]}-{subnet[-1]}"


def _add_guard(found: Elements, guard: Guard) -> None:
    link = f'"{guard.link}"'
    found["bridge links"].append(link)
    if not guard.icc:
        found["bridge isolated"].append(link)
    addresses: list[IPv4Address | IPv6Address] = [ip_address(text) for text in guard.addresses]
    if any(address.version == 6 for address in addresses):  # noqa: PLR2004 - IPv6
        addresses.append(link_local(guard.mac))
    for address in addresses:
        found[f"bridge sources{address.version}"].append(f"{link} . {guard.mac} . {address}")
        if isinstance(address, IPv6Address):
            found["bridge neighbours"].append(f"{link} . {guard.mac} . {int(address):#034x}")


def _add_forward(found: Elements, forward: Forward) -> None:
    address = ip_address(forward.address)
    kind = f"{address.version}"
    target = f"{address} . {forward.port}"
    if forward.host_ip:
        key = f"{ip_address(forward.host_ip)} . {forward.protocol} . {forward.host_port}"
        found[f"inet ports{kind}"].append(f"{key} : {target}")
    else:
        found[f"inet anyports{kind}"].append(f"{forward.protocol} . {forward.host_port} : {target}")
