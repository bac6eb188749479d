"""Questions about names as containers' libraries ask them, and somebody's name server outside."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dnslib  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networkkit import Box
    from support.netns import Place

NXDOMAIN = 3


def ask(box: Box, name: str, kind: str = "A", *, tcp: bool = False, server: str = "") -> Any:
    """Ask a container's first name server; returns the answer, read."""
    server = server or gateway(box)
    question = dnslib.DNSRecord.question(name, kind)
    question.header.id = random.getrandbits(16)
    data = bytes(question.pack())
    with box.place.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        sock.sendall(len(data).to_bytes(2, "big") + data if tcp else data)
        answer = sock.recv(65535)
    found = dnslib.DNSRecord.parse(answer[2:] if tcp else answer)
    assert found.header.id == question.header.id
    return found


def gateway(box: Box) -> str:
    text = box.machine.client.inspect_network(box.endpoints[0].network).subnets[0].gateway
    assert f"nameserver {text}" in box.resolv_conf()
    return text


def addresses(answer: Any) -> list[str]:
    return sorted(str(each.rdata) for each in answer.rr)


@contextmanager
def upstream(place: Place) -> Iterator[list[str]]:
    """Serve at every address of a place; yields what it is asked, as "udp example.org."."""
    asked: list[str] = []
    udp = place.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = place.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for sock in (udp, tcp):
        sock.settimeout(None)
        sock.bind(("", 53))
    tcp.listen()
    threads = [
        threading.Thread(target=serve, args=(sock, asked), daemon=True)
        for serve, sock in ((_serve_udp, udp), (_serve_tcp, tcp))
    ]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        tcp.shutdown(socket.SHUT_RDWR)
        with place.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", 53))
        for thread in threads:
            thread.join(3)
        udp.close()
        tcp.close()


def _serve_udp(sock: socket.socket, asked: list[str]) -> None:
    while (received := sock.recvfrom(4096))[0]:
        sock.sendto(_answer(received[0], "udp", asked), received[1])


def _serve_tcp(sock: socket.socket, asked: list[str]) -> None:
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            return
        with connection:
            reply = _answer(connection.recv(4096)[2:], "tcp", asked)
            connection.sendall(len(reply).to_bytes(2, "big") + reply)


def _answer(data: bytes, how: str, asked: list[str]) -> bytes:
    question = dnslib.DNSRecord.parse(data)
    name = str(question.q.qname)
    asked.append(f"{how} {name}")
    reply = question.reply()
    if name == "example.org.":
        reply.add_answer(*dnslib.RR.fromZone("example.org. 60 A 198.51.100.1"))
    elif name == "big.example.org.":
        zone = "\n".join(f"{name} 60 A 198.51.100.{number}" for number in range(60))
        reply.add_answer(*dnslib.RR.fromZone(zone))
    else:
        reply.header.rcode = NXDOMAIN
        reply.add_auth(*dnslib.RR.fromZone("example.org. 60 SOA a. b. 1 2 3 4 60"))
    return bytes(reply.pack())
