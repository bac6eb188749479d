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
The kernel has no such setting for ::1; relay.py serves it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network

Elements = dict[str, list[str]]
"""By "family set": the elements of it."""

PUBLISHED = "0x00200000"
"""The bit of a packet's mark that lets it pass between containers of one network that are kept apart.

Only packets of such networks ever have it: what goes to a published port may stay on its bridge, where
with br_netfilter nothing else tells it from what is to be dropped.
"""


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
    return (
        removing(table)
        + _TABLES.replace("TABLE", table).replace("PUBLISHED", PUBLISHED)
        + adding(table, elements)
    )


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


_TABLES = """
table inet TABLE {
  set bridges { type ifname; }
  set internal { type ifname; }
  set same { type ifname . ifname; }
  set apart { type ifname; }
  set gateways4 { type ifname . ipv4_addr; }
  set gateways6 { type ifname . ipv6_addr; }
  set hosts4 { type ipv4_addr; }
  set hosts6 { type ipv6_addr; }
  set networks4 { type ifname . ipv4_addr; flags interval; }
  set networks6 { type ifname . ipv6_addr; flags interval; }
  set outward4 { type ipv4_addr; flags interval; }
  set outward6 { type ipv6_addr; flags interval; }
  map names4 { type ifname . ipv4_addr . inet_proto : inet_service; }
  map names6 { type ifname . ipv6_addr . inet_proto : inet_service; }
  map ports4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  map anyports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map anyports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }

  chain early {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }

  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @ports4
    dnat ip to meta l4proto . th dport map @anyports4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6
    dnat ip6 to meta l4proto . th dport map @anyports6
  }

  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto { tcp, udp } th dport 53 redirect to :iifname . ip daddr . meta l4proto map @names4
    meta l4proto { tcp, udp } th dport 53 redirect to :iifname . ip6 daddr . meta l4proto map @names6
    fib daddr type local jump published
  }

  chain marking {
    type filter hook prerouting priority -90; policy accept;
    iifname @apart ct status dnat meta mark set meta mark | PUBLISHED
  }

  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 accept
    fib daddr type local jump published
  }

  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat oifname . ip saddr @networks4 masquerade
    ct status dnat oifname . ip6 saddr @networks6 masquerade
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    oifname != @bridges ip saddr @outward4 masquerade
    oifname != @bridges ip6 saddr @outward6 masquerade
  }

  chain input {
    type filter hook input priority filter; policy accept;
    iifname "lo" accept
    ip daddr @hosts4 iifname . ip daddr != @gateways4 drop
    ip6 daddr @hosts6 iifname . ip6 daddr != @gateways6 drop
    iifname @internal ip6 daddr fe80::/10 accept
    iifname @internal ip6 daddr ff00::/8 accept
    iifname @internal meta nfproto ipv4 iifname . ip daddr != @gateways4 drop
    iifname @internal meta nfproto ipv6 iifname . ip6 daddr != @gateways6 drop
  }

  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @same accept
    iifname @internal drop
    oifname @internal drop
    oifname @bridges jump inward
    iifname @bridges ct state invalid drop
  }

  chain inward {
    ct state established,related accept
    ct status dnat accept
    drop
  }
}
table bridge TABLE {
  set links { type ifname; }
  set isolated { type ifname; }
  set sources4 { type ifname . ether_addr . ipv4_addr; }
  set sources6 { type ifname . ether_addr . ipv6_addr; }
  set neighbours { typeof iifname . ether saddr . @th,64,128; }

  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname @links goto from_container
  }

  chain forward {
    type filter hook forward priority -200; policy accept;
    meta mark & PUBLISHED != 0 accept
    iifname @isolated oifname @isolated drop
  }

  chain from_container {
    ip daddr 127.0.0.0/8 drop
    iifname . ether saddr . ip saddr @sources4 accept
    iifname . ether saddr . arp saddr ip @sources4 iifname . arp saddr ether . arp saddr ip @sources4 accept
    icmpv6 type { nd-router-advert, nd-redirect } drop
    icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @neighbours drop
    iifname . ether saddr . ip6 saddr @sources6 accept
    ip6 saddr :: accept
    drop
  }
}
"""
