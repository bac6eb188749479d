"""What the kernel remembers of UDP flows (ctnetlink): forgotten where a port is published, or is so no more.

A flow keeps for minutes the destination that its first packet had. A client that goes on sending from its
port would never reach the container that has come, or would be sent on to one that is gone. Keeps nothing.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NETLINK_NETFILTER = 12
_IPCTNL_MSG_CT_DELETE = 1 << 8 | 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLA_F_NESTED = 1, 4, 1 << 15
_NLMSG_ERROR = 2
_NFGENMSG_VERSION = 1
"""From this one on the kernel heeds the family."""

_CTA_TUPLE_ORIG, _CTA_FILTER = 1, 25
_CTA_TUPLE_PROTO = 2
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_CTA_FILTER_ORIG_FLAGS = 1
_BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5
"""CTA_FILTER_F_CTA_PROTO_NUM and _DST_PORT (net/netfilter/nf_internals.h); Linux 5.8."""

_HEADER = struct.Struct("=IHHII")


def forget_flows(numbers: Sequence[int], *, fds: Sequence[int] = ()) -> None:
    """Forget the UDP flows whose first packet was for one of these ports."""
    del fds
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        for number in numbers:
            for family in (socket.AF_INET, socket.AF_INET6):
                sock.send(_request(family, number))
                _check(sock.recv(4096))


def _request(family: int, number: int) -> bytes:
    protocol = _attribute(_CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
    protocol += _attribute(_CTA_PROTO_DST_PORT, number.to_bytes(2, "big"))
    body = bytes([family, _NFGENMSG_VERSION, 0, 0])
    body += _nested(_CTA_TUPLE_ORIG, _nested(_CTA_TUPLE_PROTO, protocol))
    body += _nested(_CTA_FILTER, _attribute(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL_AND_PORT)))
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    return _HEADER.pack(_HEADER.size + len(body), _IPCTNL_MSG_CT_DELETE, flags, 0, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _nested(kind: int, data: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, data)


def _check(answer: bytes) -> None:
    """Raise OSError for a refusal: the kernel answers with the negative errno (netlink(7), nlmsgerr)."""
    _, kind, *_ = _HEADER.unpack_from(answer)
    number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if kind == _NLMSG_ERROR and number:
        raise OSError(number, os.strerror(number), "conntrack")


OPS: dict[str, Callable[..., Any]] = {"forget_flows": forget_flows}
