"""The private protocol between supervisor and launcher: one msgpack list per SEQPACKET message.

Owns framing and descriptor passing. Must never block: a full socket is BlockingIOError.

To the launcher:
    spawn id cgroup stdin terminal promise needs plan   (with a network namespace, if the plan says so)
                        promise: the directory's former name and its successor's; needs: capabilities, as bits
    exec id note lifeline brief needs plan (with the container's pidfd, a lifeline if so said, its streams);
                        brief: its start may be told a moment late, and with its end
    expect              an exec is about to be asked for: who will be needed should be awake
    release id          forget the container and close its descriptors
    close_stdin id      drop the duplicate of its standard input
    drop_lifeline id    of an exec that goes on without its client
    kill id signal      also while it is being set up
    keep id pid kinds code signal note     with the descriptors: what another launcher held, which died
    list
From the launcher:
    hello version pid since   first on every connection
    spawned id pid kinds                    with one descriptor per kind
    failed id step op path errno hint       nothing of it is left
    exited id code signal told at           one of code and signal is nil; told: its client knows already;
                                            at: when it was seen, Unix time, nil if nobody knows
    ran id pid code signal told             spawned and exited at once, without descriptors, of a brief exec:
                                           only to the supervisor that asked for it
    held id pid kinds code signal pending note kept at   an answer to list, with the descriptors; no note: a
                                           container; kept: of a launcher that died, which would know its exit
    listed                                  the end of that

Launchers outlive upgrades, so supervisors meet those of other releases. The protocol has two halves.
The starting half, spawn and exec with the plans in them, may change with every release: it is spoken with a
launcher of the very same VERSION only. The holding half is all the rest, with the notes of execs; it is
spoken with every launcher that has it in common with us. Each end knows `since` which version its own is what
it is, but for new messages and for new fields at the end of what launchers tell: a supervisor leaves out what
it does not know. Should it have to change otherwise, the supervisor goes on speaking the one before, for one
release at least.
"""

from __future__ import annotations

import _socket
import os
import struct

import msgpack  # type: ignore[import-untyped]  # it has no types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    class Socket(Protocol):
        """What `socket.socket` and its C base share."""

        def sendmsg(self, buffers: Iterable[bytes], ancdata: Iterable[tuple[int, int, bytes]], /) -> int:
            """Send one message."""
            ...

        def recvmsg(self, bufsize: int, ancbufsize: int, flags: int, /) -> tuple[bytes, Any, int, Any]:
            """Receive one message."""
            ...


_msgpack: Any = msgpack

VERSION = 9
"""Raised with every change: both ends are the same release, except across an upgrade."""

HOLDING_SINCE = 4
"""The first version whose holding half we speak."""

MARK = b"\xc1"
"""On a status socket: the command is about to be executed. The one byte that begins no msgpack value."""

_INLINE_MAX = 128 * 1024  # well below the smallest default SO_SNDBUF, 208 KiB
_MAX_FDS = 8
_ANCILLARY = _socket.CMSG_SPACE(4 * _MAX_FDS)


class Cut(ValueError):  # noqa: N818 - what happened to it
    """A message lost its descriptors: the receiver has none left for them, or the sender is not our peer.

    `message` is what it said, None when that was in one of them.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__("a message of the launcher protocol was cut")
        message: tuple[Any, ...] = unpack(data)
        self.message = None if message[0] == "memfd" else message


def common(version: int, since: int = 0) -> int | None:
    """Return the highest version whose holding half we share with a launcher of `since` to `version`."""
    highest = min(version, VERSION)
    return highest if highest >= max(since, HOLDING_SINCE) else None


def pack(*message: Any) -> bytes:
    """Return a message as bytes; text that is no UTF-8 keeps its bytes, a value of a plan is its fields."""
    packed: bytes = _msgpack.packb(message, unicode_errors="surrogateescape", default=_fields)
    return packed


def _fields(value: Any) -> list[Any]:
    fields: list[Any] = value.to_wire()
    return fields


def unpack(data: bytes) -> Any:
    """Return what `pack` packed; sequences are tuples."""
    return _msgpack.unpackb(data, use_list=False, unicode_errors="surrogateescape", strict_map_key=False)


def send(sock: Socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send a packed message with descriptors; one that is too big for a datagram travels in a memfd.

    Raises BlockingIOError when the peer does not read, OSError when it is gone.
    """
    if len(data) <= _INLINE_MAX:
        _sendmsg(sock, data, fds)
        return
    memfd = os.memfd_create("wherry message", os.MFD_CLOEXEC)
    try:
        with open(memfd, "wb", closefd=False) as file:
            file.write(data)
        _sendmsg(sock, pack("memfd"), [memfd, *fds])
    finally:
        os.close(memfd)


def _sendmsg(sock: Socket, data: bytes, fds: Sequence[int]) -> None:
    rights = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else [])


def send_on(fd: int, data: bytes, fds: Sequence[int] = ()) -> None:
    """As `send`, on the descriptor of a socket, which stays open."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    try:
        send(sock, data, fds)
    finally:
        sock.detach()


def receive(sock: Socket) -> tuple[tuple[Any, ...], list[int]] | None:
    """Return the next message and its descriptors; None at the end.

    Raises BlockingIOError: none yet; Cut: without all of its descriptors, which are closed.
    """
    received = receive_packed(sock)
    return None if received is None else opened(*received)


def receive_packed(sock: Socket) -> tuple[bytes, list[int]] | None:
    """Do as `receive`, with a message that is packed still: see `opened`."""
    data, ancillary, flags, _ = sock.recvmsg(_INLINE_MAX + 1, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, rights in ancillary for fd in struct.unpack(f"{len(rights) // 4}i", rights)]
    if not data:
        return None
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        if flags & _socket.MSG_TRUNC:
            raise ValueError("a message of the launcher protocol is too long: it is not our peer's")
        raise Cut(data)
    return data, fds


def opened(data: bytes, fds: list[int]) -> tuple[tuple[Any, ...], list[int]]:
    """Return a message that was received packed, and the descriptors that are its own."""
    message: tuple[Any, ...] = unpack(data)
    if message[0] != "memfd":
        return message, fds
    with open(fds[0], "rb") as file:
        file.seek(0)
        return unpack(file.read()), fds[1:]
