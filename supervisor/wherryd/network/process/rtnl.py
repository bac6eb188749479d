"""rtnetlink(7): messages encoded by pyroute2, sent many at once on a socket of ours. Blocking.

Owns the sockets and what an error's text says; knows no policy. Must never open one of pyroute2's own
sockets: those have an event loop each, and fork to reach another namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import contextmanager
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, NamedTuple

from pyroute2.netlink import (  # type: ignore[import-untyped]  # it has no types
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
)
from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]  # as above
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]  # as above
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]  # as above
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]  # as above

from wherryd.kernel.syscalls import CLONE_NEWNET, setns

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

IFF_UP = 1
_NEW = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
_SET = NLM_F_REQUEST | NLM_F_ACK
_HEADER = struct.Struct("=IHHII")
_ERROR = 2
_DONE = 3
_SIZE = 1 << 18
_IFA_F_NODAD = 2
_RT_TABLE_MAIN = 254
_RTPROT_KERNEL, _RTPROT_STATIC = 2, 4
_RT_SCOPE_LINK = 253
_METRIC6 = 256
"""What the kernel gives the route that comes with an address of IPv6 (IP6_RT_PRIO_ADDRCONF)."""

_RTN_UNICAST = 1


class Message(NamedTuple):
    """A request: `what` it is for, in an error's text; `tolerated` errno values are as good as done."""

    what: str
    data: bytearray
    tolerated: tuple[int, ...] = ()


class Rtnl:
    """A socket in the network namespace that the thread is in when it is made; it stays there."""

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def do(self, *messages: Message) -> None:
        """Send requests at once. Raises OSError for the first that failed; those after it were tried, too."""
        batch = bytearray()
        first = self._sequence + 1
        for message in messages:
            self._sequence += 1
            struct.pack_into("=I", message.data, 8, self._sequence)
            batch += message.data
        self._sock.send(batch)
        failure: OSError | None = None
        waiting = len(messages)
        while waiting:
            for kind, sequence, body in self._read():
                if kind == _ERROR and sequence >= first:
                    waiting -= 1
                    failure = failure or _failure(
                        messages[sequence - first], -struct.unpack_from("=i", body)[0]
                    )
        if failure is not None:
            raise failure

    def dump(self, message: Message) -> list[bytes]:
        """Return the bodies of everything that a request for a list is answered with."""
        self._sequence += 1
        struct.pack_into("=I", message.data, 8, self._sequence)
        self._sock.send(message.data)
        found: list[bytes] = []
        while True:
            for kind, sequence, body in self._read():
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    failure = _failure(message, -struct.unpack_from("=i", body)[0])
                    if failure is not None:
                        raise failure
                else:
                    found.append(body)

    def get(self, message: Message) -> bytes:
        """Return the body of the one answer to a request. Raises OSError."""
        self._sequence += 1
        struct.pack_into("=I", message.data, 8, self._sequence)
        self._sock.send(message.data)
        while True:
            for kind, sequence, body in self._read():
                if sequence == self._sequence and kind != _ERROR:
                    return body
                if sequence == self._sequence:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number), message.what)

    def _read(self) -> Generator[tuple[int, int, bytes]]:
        data = self._sock.recv(_SIZE)
        offset = 0
        while offset < len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _failure(message: Message, number: int) -> OSError | None:
    if number == 0 or number in message.tolerated:
        return None
    return OSError(number, os.strerror(number), message.what)


@contextmanager
def inside(namespace: int, own: int) -> Generator[None]:
    """Have the thread in another network namespace (a descriptor of it, or of a process in it)."""
    setns(namespace, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(own, CLONE_NEWNET)


def _encode(message: Any, kind: int, flags: int, attrs: Sequence[tuple[str, Any]]) -> bytearray:
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message["attrs"] = list(attrs)
    message.encode()
    data: bytearray = message.data
    return data


def _link(
    kind: int, flags: int, attrs: Sequence[tuple[str, Any]], *, index: int = 0, up: bool | None = None
) -> bytearray:
    message: Any = ifinfmsg()
    message["index"] = index
    if up is not None:
        message["flags"] = IFF_UP if up else 0
        message["change"] = IFF_UP
    return _encode(message, kind, flags, attrs)


def new_bridge(name: str, mac: str) -> Message:
    """Return the request for a bridge that forwards at once; one that is there already is fine."""
    data = {"attrs": [("IFLA_BR_STP_STATE", 0), ("IFLA_BR_FORWARD_DELAY", 0)]}
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
    attrs = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_LINKINFO", info)]
    what = f"bridge {name}"
    return Message(what, _link(RTM_NEWLINK, _NEW, attrs), (errno.EEXIST,))


def new_veth(name: str, master: int, peer: str, mac: str, namespace: int, mtu: int) -> Message:
    """Return the request for a pair: one end up in a bridge, the other, not up yet, in a namespace."""
    inner: Any = ifinfmsg()
    inner["attrs"] = [
        ("IFLA_IFNAME", peer),
        ("IFLA_ADDRESS", mac),
        ("IFLA_MTU", mtu),
        ("IFLA_NET_NS_FD", namespace),
    ]
    data = {"attrs": [("VETH_INFO_PEER", inner)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    attrs = [("IFLA_IFNAME", name), ("IFLA_MTU", mtu), ("IFLA_MASTER", master), ("IFLA_LINKINFO", info)]
    return Message(f"veth {name}", _link(RTM_NEWLINK, _NEW, attrs, up=True))


def let_back(name: str) -> Message:
    """Return the request that lets a bridge send a packet back to the port that it came by.

    It does not otherwise. Where bridges hand packets to the firewall (br_netfilter's default), one to a
    published port gets its other destination while it is on the bridge: its sender, perhaps.
    """
    data = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
    info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]}
    return Message(f"link {name}", _link(RTM_NEWLINK, _SET, [("IFLA_IFNAME", name), ("IFLA_LINKINFO", info)]))


def set_link(
    index: int, name: str, attrs: Sequence[tuple[str, Any]] = (), *, up: bool | None = None
) -> Message:
    """Return the request that changes a link. `name` is for the error's text."""
    return Message(f"link {name}", _link(RTM_NEWLINK, _SET, attrs, index=index, up=up))


def delete_link(name: str) -> Message:
    """Return the request that removes a link; one that is gone is fine."""
    return Message(f"link {name}", _link(RTM_DELLINK, _SET, [("IFLA_IFNAME", name)]), (errno.ENODEV,))


def new_address(index: int, address: str, prefix: int) -> Message:
    """Return the request that gives a link an address, at once usable; one that it has is fine."""
    message: Any = ifaddrmsg()
    version6 = ":" in address
    message["family"] = socket.AF_INET6 if version6 else socket.AF_INET
    message["prefixlen"], message["index"] = prefix, index
    attrs: list[tuple[str, Any]] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    if version6:
        message["flags"] = _IFA_F_NODAD
    else:
        attrs.append(("IFA_BROADCAST", str(ip_interface(f"{address}/{prefix}").network.broadcast_address)))
    data = _encode(message, RTM_NEWADDR, _NEW, attrs)
    return Message(f"address {address}/{prefix}", data, (errno.EEXIST,))


def new_default_route(index: int, gateway: str) -> Message:
    """Return the request for a default route."""
    message: Any = rtmsg()
    message["family"] = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    message["table"], message["proto"], message["type"] = _RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST
    attrs = [("RTA_GATEWAY", gateway), ("RTA_OIF", index)]
    data = _encode(message, RTM_NEWROUTE, _NEW, attrs)
    return Message(f"default route through {gateway}", data, (errno.EEXIST,))


def new_connected_route(index: int, address: str, prefix: int) -> Message:
    """Return the request for the route that came with a link's address; one that is there is fine."""
    network = ip_interface(f"{address}/{prefix}").network
    message: Any = rtmsg()
    message["family"] = socket.AF_INET if network.version == 4 else socket.AF_INET6  # noqa: PLR2004 - of IP
    message["dst_len"], message["table"] = prefix, _RT_TABLE_MAIN
    message["proto"], message["type"] = _RTPROT_KERNEL, _RTN_UNICAST
    attrs: list[tuple[str, Any]] = [("RTA_DST", str(network.network_address)), ("RTA_OIF", index)]
    if network.version == 4:  # noqa: PLR2004 - as above
        message["scope"] = _RT_SCOPE_LINK
        attrs.append(("RTA_PREFSRC", address))
    else:
        attrs.append(("RTA_PRIORITY", _METRIC6))
    return Message(f"route to {network}", _encode(message, RTM_NEWROUTE, _NEW, attrs), (errno.EEXIST,))


def get_link(name: str) -> Message:
    """Return the request for a link's state."""
    return Message(f"link {name}", _link(RTM_GETLINK, NLM_F_REQUEST, [("IFLA_IFNAME", name)]))


def link_of(body: bytes) -> Any:
    """Decode the answer to `get_link`."""
    return _decode(ifinfmsg, body)


def list_routes() -> Message:
    """Return the request for every route of every table."""
    message: Any = rtmsg()
    return Message("routes", _encode(message, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, []))


def route_of(body: bytes) -> Any:
    """Decode one of the answers to `list_routes`."""
    return _decode(rtmsg, body)


def _decode(kind: Any, body: bytes) -> Any:
    message = kind(_HEADER.pack(_HEADER.size + len(body), 0, 0, 0, 0) + body)
    message.decode()
    return message
