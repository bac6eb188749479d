"""What the kernel remembers of UDP flows (ctnetlink): forgotten where a port is published, or is so no more.

A flow keeps for minutes the destination that its first packet had. A client that goes on sending from its
port would never reach the container that has come, or would be sent on to one that is gone. Keeps nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NETLINK_NETFILTER = 12
_IPCTNL_MSG_CT_GET, _IPCTNL_MSG_CT_DELETE = 1 << 8 | 1, 1 << 8 | 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLA_F_NESTED, _NLA_TYPE_MASK = 1 << 15, 0x3FFF
_NFGENMSG_VERSION = 1
"""From this one on the kernel heeds the family."""

_CTA_TUPLE_ORIG, _CTA_ID, _CTA_ZONE, _CTA_FILTER = 1, 12, 18, 25
_CTA_TUPLE_PROTO = 2
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_CTA_FILTER_ORIG_FLAGS = 1
_BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5
"""CTA_FILTER_F_CTA_PROTO_NUM and _DST_PORT (net/netfilter/nf_internals.h); Linux 5.8."""

_HEADER = struct.Struct("=IHHII")
_NFGENMSG_SIZE = 4
_MESSAGES_MAX = 1 << 16
"""Bytes; more than the kernel puts into one answer of a dump."""


def forget_flows(numbers: Sequence[int], *, fds: Sequence[int] = ()) -> None:
    """Forget the UDP flows whose first packet was for one of these ports."""
    del fds
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        for number in numbers:
            for family in (socket.AF_INET, socket.AF_INET6):
                try:
                    _ask(sock, _IPCTNL_MSG_CT_DELETE, _NLM_F_ACK, family, _filter(number))
                    _check(sock.recv(4096))
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    forget_each(sock, family, number)


def forget_each(sock: socket.socket, family: int, number: int) -> None:
    """Look for them and forget one by one: before Linux 6.8 a deletion heeds no filter."""
    for flow in find(sock, family, number):
        _ask(sock, _IPCTNL_MSG_CT_DELETE, _NLM_F_ACK, family, flow)
        try:
            _check(sock.recv(4096))
        except OSError as error:
            if error.errno != errno.ENOENT:  # it went by itself
                raise


def find(sock: socket.socket, family: int, number: int) -> list[bytes]:
    """Return what says which they are, of each such flow."""
    _ask(sock, _IPCTNL_MSG_CT_GET, _NLM_F_DUMP, family, _filter(number))
    found: list[bytes] = []
    while True:
        for kind, payload in _messages(sock.recv(_MESSAGES_MAX)):
            if kind == _NLMSG_DONE:
                return found
            if kind == _NLMSG_ERROR:
                _raise(payload)
            told = dict(_attributes(payload[_NFGENMSG_SIZE:]))
            if _is_for(told.get(_CTA_TUPLE_ORIG, b""), number):
                known = [(key, told[key]) for key in (_CTA_ID, _CTA_ZONE) if key in told]
                flow = _nested(_CTA_TUPLE_ORIG, told[_CTA_TUPLE_ORIG])
                found.append(flow + b"".join(_attribute(key, data) for key, data in known))


def _is_for(flow: bytes, number: int) -> bool:
    """Say whether a tuple is UDP to a port: kernels before 5.8 heed no filter in a dump either."""
    protocol = dict(_attributes(dict(_attributes(flow)).get(_CTA_TUPLE_PROTO, b"")))
    wanted = {_CTA_PROTO_NUM: bytes([socket.IPPROTO_UDP]), _CTA_PROTO_DST_PORT: number.to_bytes(2, "big")}
    return all(protocol.get(key) == data for key, data in wanted.items())


def _ask(sock: socket.socket, kind: int, flags: int, family: int, attributes: bytes) -> None:
    body = bytes([family, _NFGENMSG_VERSION, 0, 0]) + attributes
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, 0, 0) + body)


def _filter(number: int) -> bytes:
    protocol = _attribute(_CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
    protocol += _attribute(_CTA_PROTO_DST_PORT, number.to_bytes(2, "big"))
    return _nested(_CTA_TUPLE_ORIG, _nested(_CTA_TUPLE_PROTO, protocol)) + _nested(
        _CTA_FILTER, _attribute(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL_AND_PORT))
    )


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _nested(kind: int, data: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, data)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:  # noqa: PLR2004 - an attribute's head, as in _attribute
        size, kind = struct.unpack_from("=HH", data)
        yield kind & _NLA_TYPE_MASK, data[4:size]
        data = data[max(4, size + -size % 4) :]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : size]
        data = data[max(_HEADER.size, size + -size % 4) :]


def _check(answer: bytes) -> None:
    for kind, payload in _messages(answer):
        if kind == _NLMSG_ERROR:
            _raise(payload)


def _raise(payload: bytes) -> None:
    """Raise OSError for a refusal: the kernel answers with the negative errno (netlink(7), nlmsgerr)."""
    number = -struct.unpack_from("=i", payload)[0]
    if number:
        raise OSError(number, os.strerror(number), "conntrack")


OPS: dict[str, Callable[..., Any]] = {"forget_flows": forget_flows}
