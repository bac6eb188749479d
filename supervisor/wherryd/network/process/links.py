"""Bridges, and the veth pairs that join network namespaces to them: what the network process does with links.

Every operation is whole: what failed half-way is taken back. Each may be asked for again after a process was
killed in the middle of it.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from wherryd.kernel.namespaces import new_network_namespace
from wherryd.network.process import rtnl
from wherryd.network.process.made import Made
from wherryd.network.process.rtnl import Rtnl, inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    End = Mapping[str, Any]
    """Where a namespace is on a bridge: an Endpoint as it travels, with `bridge` and `mtu`."""

_SYSCTL = "/proc/sys/net"
_FORWARD = {4: f"{_SYSCTL}/ipv4/ip_forward", 6: f"{_SYSCTL}/ipv6/conf/all/forwarding"}

_INSIDE = (("ipv4/ping_group_range", "0 2147483647"), ("ipv4/ip_unprivileged_port_start", "0"))
"""As docker has it: who has no capabilities may ping, and serve on any port."""

_own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
_host = Rtnl()


def make_bridge(
    name: str, mac: str, addresses: Sequence[tuple[str, int]], mtu: int, *, fds: list[int]
) -> int:
    """Make a bridge with these addresses, the host's in it, or set one right; return its index."""
    del fds
    _host.do(rtnl.new_bridge(name, mac))
    index = socket.if_nametoindex(name)
    try:
        _set_ipv6(name, on=any(":" in address for address, _ in addresses))
        _host.do(
            rtnl.set_link(index, name, [("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)], up=True),
            *(rtnl.new_address(index, address, prefix) for address, prefix in addresses),
            *(rtnl.new_connected_route(index, address, prefix) for address, prefix in addresses),
        )
    except BaseException:
        _host.do(rtnl.delete_link(name))
        raise
    return index


def enslave(bridge: str, links: Sequence[str], *, fds: list[int]) -> list[str]:
    """Have links on a bridge and up; return those that were not."""
    del fds
    master = socket.if_nametoindex(bridge)
    astray: list[str] = []
    for name in links:
        found = rtnl.link_of(_host.get(rtnl.get_link(name)))
        if found.get_attr("IFLA_MASTER") != master or not found["flags"] & rtnl.IFF_UP:
            _host.do(
                rtnl.set_link(found["index"], name, [("IFLA_MASTER", master)], up=True), rtnl.let_back(name)
            )
            astray.append(name)
    return astray


def remove_links(names: Sequence[str], *, fds: list[int]) -> None:
    """Remove links, if they are there: bridges, or pairs by the name of one end."""
    del fds
    for name in names:
        _host.do(rtnl.delete_link(name))


def make_namespace(ends: Sequence[End], *, fds: list[int]) -> Made:
    """Make a network namespace that is on bridges; answers with its descriptor."""
    del fds
    namespace = new_network_namespace()
    with inside(namespace, _own):
        for name, value in _INSIDE:
            _write(f"{_SYSCTL}/{name}", value)
    made: list[str] = []
    try:
        for end in ends:
            made.append(end["link"])
            _join(namespace, end)
    except BaseException:
        os.close(namespace)
        for name in made:
            _host.do(rtnl.delete_link(name))
        raise
    return Made(None, (namespace,))


def join(end: End, *, fds: list[int]) -> None:
    """Put a namespace (a descriptor of it, or the pidfd of a process in it) on one more bridge."""
    try:
        _join(fds[0], end)
    except BaseException:
        _host.do(rtnl.delete_link(end["link"]))
        raise


def _join(namespace: int, end: End) -> None:
    master = socket.if_nametoindex(end["bridge"])
    link, interface = end["link"], end["interface"]
    with inside(namespace, _own):
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        inner = Rtnl()
    try:
        _new_pair(rtnl.new_veth(link, master, interface, end["mac_address"], fd, end["mtu"]), link)
        _set_ipv6(link, on=False)
        with inside(namespace, _own):
            index = socket.if_nametoindex(interface)
            _set_ipv6(interface, on=end.get("ip6") is not None)
        inner.do(*_settings(index, end))
    finally:
        inner.close()
        os.close(fd)


def _new_pair(pair: rtnl.Message, link: str) -> None:
    """Make a pair; what another one of us that was killed made of it goes first: nobody else has its name."""
    try:
        _host.do(pair, rtnl.let_back(link))
    except FileExistsError:
        _host.do(rtnl.delete_link(link), pair, rtnl.let_back(link))


def set_primary(end: End, *, fds: list[int]) -> None:
    """Have an end, whose bridge the namespace of a process (by pidfd) is on, be the way to everywhere."""
    with inside(fds[0], _own):
        inner = Rtnl()
        index = socket.if_nametoindex(end["interface"])
    try:
        inner.do(*_settings(index, {**end, "primary": True}))
    finally:
        inner.close()


def _settings(index: int, end: End) -> list[rtnl.Message]:
    found = [rtnl.set_link(index, end["interface"], up=True)]
    for address, prefix, gateway in (("ip", "prefix", "gateway"), ("ip6", "prefix6", "gateway6")):
        if end.get(address):
            found.append(rtnl.new_address(index, end[address], end[prefix]))
            if end.get("primary") and end.get(gateway):
                found.append(rtnl.new_default_route(index, end[gateway]))
    return found


def _set_ipv6(name: str, *, on: bool) -> None:
    """Have IPv6 on a link, without what routers say; or not at all. A kernel without IPv6 has it nowhere."""
    folder = f"{_SYSCTL}/ipv6/conf/{name}"
    with suppress(FileNotFoundError):
        if on:
            _write(f"{folder}/accept_ra", "0")
        _write(f"{folder}/disable_ipv6", "0" if on else "1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def enable_forwarding(version: int, *, fds: list[int]) -> bool:
    """Have the host forward packets; say whether that is new."""
    del fds
    path = _FORWARD[version]
    with open(path, encoding="ascii") as file:
        if file.read().strip() != "0":
            return False
    if version == 6:  # noqa: PLR2004 - of IP
        _keep_router_advertisements()
    _write(path, "1")
    return True


def let_loopback_out(name: str, *, fds: list[int]) -> None:
    """Let packets from 127.0.0.1 leave by a bridge; rules/ruleset.py says why that is no hole."""
    del fds
    _write(f"{_SYSCTL}/ipv4/conf/{name}/route_localnet", "1")


def _keep_router_advertisements() -> None:
    """Have links that learn their routes from routers go on with that: forwarding ends it for the value 1."""
    folder = f"{_SYSCTL}/ipv6/conf"
    for _, name in socket.if_nameindex():
        with suppress(FileNotFoundError), open(f"{folder}/{name}/accept_ra", encoding="ascii") as file:
            if file.read().strip() == "1":
                _write(f"{folder}/{name}/accept_ra", "2")


def list_ranges(*, fds: list[int]) -> list[tuple[str, str]]:
    """Return what the host has routes to, as (CIDR, link's name): addresses of links are among them."""
    del fds
    names = dict(socket.if_nameindex())
    found: list[tuple[str, str]] = []
    for body in _host.dump(rtnl.list_routes()):
        route = rtnl.route_of(body)
        destination = route.get_attr("RTA_DST")
        if destination is not None:
            found.append((f"{destination}/{route['dst_len']}", names.get(route.get_attr("RTA_OIF"), "")))
    return found


def uplink_mtu(*, fds: list[int]) -> int | None:
    """Return the MTU of the link that the host's default route uses; None without one."""
    del fds
    for body in _host.dump(rtnl.list_routes()):
        route = rtnl.route_of(body)
        index = route.get_attr("RTA_OIF")
        if route["dst_len"] == 0 and route["family"] == socket.AF_INET and index is not None:
            found = _host.get(rtnl.get_link(socket.if_indextoname(index)))
            return cast("int", rtnl.link_of(found).get_attr("IFLA_MTU"))
    return None


OPS = {
    function.__name__: function
    for function in (
        make_bridge,
        enslave,
        remove_links,
        make_namespace,
        join,
        set_primary,
        enable_forwarding,
        let_loopback_out,
        list_ranges,
        uplink_mtu,
    )
}
