"""Watches the kernel's word of what others do to our links and rules: netlink events, no polling.

Owns the two sockets. A filter in the kernel (socket(7), SO_ATTACH_FILTER) drops what comes to be, and what we
did to the rules ourselves, before it wakes anybody: a container's start costs nothing here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from wherryd.kernel.filters import attach_filter
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_GROUPS = (1, 5, 7, 9, 11, 24, 25)
"""RTNLGRP_: LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, IPV4_NETCONF, IPV6_NETCONF."""

_NFNLGRP_NFTABLES = 7

_RTM_NEWLINK, _RTM_DELLINK, _RTM_DELADDR, _RTM_DELROUTE, _RTM_NEWNETCONF = 16, 17, 21, 25, 80
_NFT = 10 << 8
_NFT_MSG_NEWGEN = _NFT | 15
_IFLA_IFNAME, _RTA_OIF, _NETCONFA_FORWARDING = 3, 4, 2
_NFTA_TABLE = 1
"""The table's name has this number in messages about tables, chains, rules, sets and elements alike."""

_NFTA_GEN_PROC_PID = 2
"""Who did it, as the machine's first pid namespace counts, whichever is ours."""

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Its inode: PROC_PID_INIT_INO of the kernel."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_IFINFOMSG, _RTMSG, _NETCONFMSG, _NFGENMSG = 16, 12, 4, 4
_BUFFER = 1 << 20


@dataclass(slots=True, kw_only=True)
class Seen:
    """What somebody did. `unknown`: events were lost, so that it may be anything.

    `forwarding`: the host was told not to pass packets on.
    """

    rules: bool = False
    forwarding: bool = False
    links: set[str] = field(default_factory=set[str])
    unknown: bool = False

    def __bool__(self) -> bool:
        return self.rules or self.forwarding or self.unknown or bool(self.links)


class Watch:
    """Events about the tables named `table`, and links that somebody `cares` for.

    `own_pids` returns the process ids of whoever changes rules for us.
    """

    def __init__(
        self, table: str, cares: Callable[[str], bool], own_pids: Callable[[], Sequence[int]]
    ) -> None:
        self._table = table.encode()
        self._cares = cares
        self._own_pids = own_pids
        self._counted_alike = os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
        self._filtered: int | None = None
        self._tampered = False
        self._seen = Seen()
        self._event = trio.Event()

    async def next(self) -> Seen:
        """Wait for something, and return all that was seen."""
        await self._event.wait()
        seen, self._seen, self._event = self._seen, Seen(), trio.Event()
        return seen

    async def run(self) -> None:
        """Listen, until cancelled."""
        with ExitStack() as stack:
            links = stack.enter_context(_listen(_NETLINK_ROUTE, *_GROUPS))
            attach_filter(links, _link_filter())
            rules = stack.enter_context(_listen(_NETLINK_NETFILTER, _NFNLGRP_NFTABLES))
            async with open_nursery() as nursery:
                start_soon(nursery, self._receive, links, self._on_link)
                start_soon(nursery, self._receive, rules, self._on_rule)

    async def _receive(
        self, sock: socket.socket, on_message: Callable[[socket.socket, int, int, bytes], None]
    ) -> None:
        while True:
            try:
                data = sock.recv(_BUFFER)
            except BlockingIOError:
                if self._seen:
                    self._event.set()
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._seen.unknown = True
                continue
            for kind, sender, body in _messages(data):
                on_message(sock, kind, sender, body)

    def _on_link(self, _sock: socket.socket, kind: int, _sender: int, body: bytes) -> None:
        if kind == _RTM_NEWNETCONF:
            forwarding = _attributes(body[_NETCONFMSG:]).get(_NETCONFA_FORWARDING)
            self._seen.forwarding = self._seen.forwarding or forwarding == bytes(4)
            return
        if kind == _RTM_DELADDR:
            name = _name_of(body[4:8])
        elif kind == _RTM_DELROUTE:
            name = _name_of(_attributes(body[_RTMSG:]).get(_RTA_OIF, b""))
        else:
            text = _attributes(body[_IFINFOMSG:]).get(_IFLA_IFNAME, b"")
            name = text.rstrip(b"\0").decode(errors="replace")
        if self._cares(name):
            self._seen.links.add(name)

    def _on_rule(self, sock: socket.socket, kind: int, sender: int, body: bytes) -> None:
        """Take note of who did what: at the end of a transaction the kernel tells the process."""
        attributes = _attributes(body[_NFGENMSG:])
        if kind != _NFT_MSG_NEWGEN:
            name = attributes.get(_NFTA_TABLE, b"").rstrip(b"\0")
            self._tampered = self._tampered or name == self._table
            return
        if not self._is_ours(sender, int.from_bytes(attributes.get(_NFTA_GEN_PROC_PID, b""), "big")):
            self._seen.rules = self._seen.rules or self._tampered
        elif sender != self._filtered:
            attach_filter(sock, _sender_filter(sender))
            self._filtered = sender
        self._tampered = False

    def _is_ours(self, sender: int, pid: int) -> bool:
        """Say whether one of ours did it: a process's first netlink socket mostly has its id for a name."""
        ours = self._own_pids()
        return sender in ours or (self._counted_alike and pid in ours)


def _listen(protocol: int, *groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    return sock


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield of each its kind, the name of the socket that it is about or came from, and the rest."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, sender = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, sender, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _name_of(index: bytes) -> str:
    try:
        return socket.if_indextoname(int.from_bytes(index, sys.byteorder))
    except OSError:
        return ""  # the link has gone with its address, which has an event of its own


# -- filters: classic BPF; it reads numbers as big-endian, and netlink's are the machine's ------------------

_LD_H, _LD_W, _LD_B, _JEQ, _JSET, _RET = 0x28, 0x20, 0x30, 0x15, 0x45, 0x06
_PASS, _DROP = 0xFFFFFFFF, 0
_KIND_AT, _SENDER_AT = 4, 12
_IFI_FLAGS_AT, _IFI_CHANGE_AT, _RTM_PROTOCOL_AT, _NETCONFA_IFINDEX_AT = 24, 28, 21, 24
"""The last is the first attribute of what the kernel tells of settings (net/ipv4/devinet.c)."""

_IFF_UP = 1
_ALL = 0xFFFFFFFF
"""As a link's changed flags: it is new. As an index of links: the setting of the whole host."""

_RTPROT_KERNEL = 2
Filter = list[tuple[int, int, int, int]]


def _link_filter() -> Filter:
    """Pass what goes: links, addresses and the routes that came with them; links that are set down; settings.

    Not what a new link is told with, nor others' routes, nor the settings of single links.
    """
    return [
        (_LD_H, 0, 0, _KIND_AT),
        (_JEQ, 13, 0, _swapped(_RTM_DELLINK, 2)),
        (_JEQ, 12, 0, _swapped(_RTM_DELADDR, 2)),
        (_JEQ, 2, 0, _swapped(_RTM_NEWLINK, 2)),
        (_JEQ, 6, 0, _swapped(_RTM_DELROUTE, 2)),
        (_JEQ, 7, 10, _swapped(_RTM_NEWNETCONF, 2)),
        (_LD_W, 0, 0, _IFI_FLAGS_AT),
        (_JSET, 8, 0, _swapped(_IFF_UP, 4)),
        (_LD_W, 0, 0, _IFI_CHANGE_AT),
        (_JEQ, 6, 0, _ALL),
        (_JSET, 4, 5, _swapped(_IFF_UP, 4)),
        (_LD_B, 0, 0, _RTM_PROTOCOL_AT),
        (_JEQ, 2, 3, _RTPROT_KERNEL),
        (_LD_W, 0, 0, _NETCONFA_IFINDEX_AT),
        (_JEQ, 0, 1, _ALL),
        (_RET, 0, 0, _PASS),
        (_RET, 0, 0, _DROP),
    ]


def _sender_filter(pid: int) -> Filter:
    """Pass what others than a process do."""
    return [
        (_LD_W, 0, 0, _SENDER_AT),
        (_JEQ, 1, 0, _swapped(pid, 4)),
        (_RET, 0, 0, _PASS),
        (_RET, 0, 0, _DROP),
    ]


def _swapped(number: int, size: int) -> int:
    return int.from_bytes(number.to_bytes(size, sys.byteorder), "big")
