"""What is no msgpack of ours at the control socket: that connection ends, and nobody else notices."""

from __future__ import annotations

import os
import random
import struct
import time
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING

import msgpack
import pytest
from rig import connection, descriptors, hello, read_to_end, rss, spec, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

AT_ONCE = 1.0
TRIES = 2000
FLAT_KIB = 3 << 10
MEBIBYTE = 1 << 20


def deep(levels: int) -> bytes:
    return b"\x91" * levels + b"\x90"


CASES = {
    "random": random.Random(1).randbytes(4096),
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "never used": b"\xc1",
    "number": msgpack.packb(7),
    "list": msgpack.packb([1, 2, 3]),
    "empty map": msgpack.packb({}),
    "map of maps": msgpack.packb({"id": {"id": {}}}),
    "unhashable key": b"\x81\x91\x01\x01",
    "deep": deep(1000),
    "deeper": deep(100_000),
    "deep map": b"\x81\xa1x" * 1000 + b"\xc0",
    "oversize": msgpack.packb({"id": 1, "op": "ping", "x": b"x" * (MEBIBYTE + 1)}),
    "oversize claimed": b"\xc6" + struct.pack(">I", 1 << 31) + bytes(MEBIBYTE + (1 << 16)),
    "huge array claimed": b"\xdd" + struct.pack(">I", (1 << 32) - 1),
    "huge map claimed": b"\xdf" + struct.pack(">I", (1 << 32) - 1),
    "huge ext claimed": b"\xc9" + struct.pack(">Ib", 1 << 31, 5) + bytes(MEBIBYTE + (1 << 16)),
    "extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "second hello": hello(),
}


@pytest.mark.parametrize("greeted", [False, True])
def test_garbage_ends_its_connection_at_once_with_a_reason(wherryd: Daemon, *, greeted: bool) -> None:
    for case, data in CASES.items():
        if case == "second hello" and not greeted:
            continue  # then it is the first
        with connection(wherryd) as sock:
            began = time.monotonic()
            try:
                sock.sendall((hello() if greeted else b"") + data)
            except (BrokenPipeError, ConnectionResetError):
                assert len(data) > 1 << 16, f"{case}: it hung up before it could have read enough"
            answer = read_to_end(sock)
            took = time.monotonic() - began
        assert took < AT_ONCE, f"{case}: closed after {took:.2f} s"
        assert b"protocol" in answer, f"{case}: {answer!r}"
        with wherryd.client() as client:
            assert client.ping().pid == wherryd.pid


def test_a_frame_that_is_cut_ends_its_connection(wherryd: Daemon) -> None:
    """The client hangs up, or only stops writing, anywhere in the middle of it."""
    whole = msgpack.packb({"id": 1, "op": "ping", "args": {"text": "x" * 20}})
    for cut, half_closed in product(range(1, len(whole)), (True, False)):
        with connection(wherryd) as sock:
            sock.sendall(hello() + whole[:cut])
            if half_closed:
                sock.shutdown(1)
                began = time.monotonic()
                read_to_end(sock)
                assert time.monotonic() - began < AT_ONCE


def test_an_oversize_request_is_not_obeyed_in_part(wherryd: Daemon) -> None:
    """Its first part is a whole request, in any order of the keys."""
    before = wherryd.container_ids()
    request = {"op": "create", "id": 1, "spec": {"image": "host", "command": ["true"]}, "x": "x" * MEBIBYTE}
    for keys in (list(request), list(reversed(request))):
        with connection(wherryd) as sock:
            with suppress(BrokenPipeError, ConnectionResetError):  # it need not read on to know
                sock.sendall(hello() + msgpack.packb({key: request[key] for key in keys}))
            read_to_end(sock)
    assert wherryd.container_ids() == before


def test_thousands_of_bad_connections_leave_the_supervisor_as_it_was(wherryd: Daemon, busybox: Path) -> None:
    """Memory and descriptors flat, and a stream and requests of others go on."""
    chance = random.Random(2)
    payloads = [data[: 1 << 17] for data in CASES.values()]

    def attack(tries: int) -> None:
        for _ in range(tries):
            with connection(wherryd) as sock:
                data = chance.choice([*payloads, chance.randbytes(chance.randrange(1, 3000))])
                try:
                    sock.sendall((hello() if chance.random() < 0.8 else b"") + data)
                    if chance.random() < 0.5:
                        sock.recv(64)
                except (BrokenPipeError, ConnectionResetError):
                    continue

    script = "i=0; while [ $i -lt 40 ]; do echo $i; read -t 0.05 x; i=$((i+1)); done"
    with wherryd.client() as client:
        bystander = client.run_stream(spec(busybox, script, stdin=True, auto_remove=True))
        with bystander as events:
            attack(300)
            memory, held = rss(wherryd.pid), descriptors(wherryd.pid)
            slowest = 0.0
            for _ in range(20):
                attack(TRIES // 20)
                began = time.monotonic()
                client.ping()
                slowest = max(slowest, time.monotonic() - began)
            assert wait_for(lambda: descriptors(wherryd.pid) <= held), "descriptors stay open"
            assert rss(wherryd.pid) - memory < FLAT_KIB, "the supervisor grows with every bad client"
            assert slowest < AT_ONCE
            printed = b"".join(event.data for event in events if hasattr(event, "data"))
    assert printed.split() == [str(number).encode() for number in range(40)]


def test_descriptors_that_nobody_asked_for_are_closed(wherryd: Daemon) -> None:
    """They ride along with garbage, with a greeting, and with a request that takes none."""
    import array
    import socket

    held = descriptors(wherryd.pid)
    for data in (CASES["random"], hello(), hello() + msgpack.packb({"id": 1, "op": "ping"})):
        for _ in range(20):
            read, write = os.pipe()
            with connection(wherryd) as sock:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write] * 4))]
                sock.sendmsg([data], rights)
                os.close(write)
                sock.shutdown(socket.SHUT_WR)
                read_to_end(sock)
            assert os.read(read, 1) == b"", "the supervisor keeps a descriptor that a stranger sent"
            os.close(read)
    assert wait_for(lambda: descriptors(wherryd.pid) <= held)
