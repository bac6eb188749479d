"""What comes by IPv6 for a container that has none, and what comes to ::1: the relay, with real bytes."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST6, published
from support.forms import within
from support.netns import DROPPED
from support.waiting import wait_for

if TYPE_CHECKING:
    from networkkit import Machine


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_port_is_reached_by_ipv6_too(machine: Machine, udp: bool) -> None:
    port = published(8080, 80, protocol="udp" if udp else "tcp")
    with machine.run(ports=(port,)) as box, box.place.server(80, udp=udp):
        for place, address in ((machine.host, "::1"), (machine.host, HOST6), (machine.peer, HOST6)):
            assert place.ask(address, 8080, udp=udp) == box.gateway
    assert wait_for(lambda: machine.host.is_kept_from("::1", 8080, udp=udp))


def test_a_container_with_ipv6_is_reached_by_loopback(machine: Machine) -> None:
    machine.client.create_network("six", ipv6=True)
    with machine.run(network="six", ports=(published(8080, 80, host_ip="::1"),)) as box, box.place.server(80):
        assert machine.host.reaches("::1", 8080)
        assert machine.host.is_kept_from("127.0.0.1", 8080)
        assert machine.peer.is_kept_from(HOST6, 8080)


def test_bytes_pass_both_ways_whole(machine: Machine) -> None:
    """Far more than a pipe holds, with a side that reads late, and an end of each direction of its own."""
    sent = os.urandom(8 << 20)
    with machine.run(ports=(published(8080, 80),)) as box:
        listening = box.place.socket(socket.AF_INET, socket.SOCK_STREAM)
        with listening:
            listening.bind(("", 80))
            listening.listen()
            thread = threading.Thread(target=_echo, args=(listening,))
            thread.start()
            with machine.host.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
                client.settimeout(within(20.0))  # of all of it, there and back
                client.connect(("::1", 8080))
                writer = threading.Thread(target=_send, args=(client, sent))
                writer.start()
                assert _read_all(client) == sent
                writer.join()
            thread.join()


def test_a_restarted_container_has_its_port_at_once(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80), published(8081, 81, protocol="udp"))) as box:
        for _ in range(5):
            with suppress(OSError), machine.host.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
                client.connect(("::1", 8080))
            with machine.host.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                client.sendto(b"?", ("::1", 8081))
            machine.client.restart(box.id)


def test_a_killed_relay_is_followed_by_another(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)) as box, box.place.server(80):
        assert machine.host.reaches("::1", 8080)
        os.kill(_relay(machine), signal.SIGKILL)
        assert wait_for(lambda: machine.host.reaches("::1", 8080, patience=DROPPED))


def test_ports_are_relayed_again_after_a_restart(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)) as box, box.place.server(80):
        assert machine.host.reaches("::1", 8080)
        machine.restart()
        assert wait_for(lambda: machine.host.reaches("::1", 8080, patience=DROPPED))


def _relay(machine: Machine) -> int:
    from support import proc

    (found,) = [each for each in proc.descendants(machine.daemon.pid) if each.name == "wherryd: relay"]
    return found.pid


def _echo(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        data = _read_all(connection)
        connection.sendall(data)


def _send(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _read_all(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(1 << 20):
        found += data
    return bytes(found)
