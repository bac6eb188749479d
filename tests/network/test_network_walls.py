"""Who cannot reach whom, and whose address nobody can take: with real packets, IPv4 and IPv6."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, HOST6, PEER, PEER6, published

from wherry_protocol.networks import EndpointSpec

if TYPE_CHECKING:
    from networkkit import Box, Machine

ETH_P_ALL = 3
VICTIM, LIAR = "02:42:00:00:00:01", "02:42:00:00:00:02"


@pytest.fixture(scope="module", autouse=True)
def networks(machine: Machine) -> None:
    machine.client.create_network("red", ipv6=True)
    machine.client.create_network("blue", ipv6=True)
    machine.client.create_network("shut", ipv6=True, internal=True)
    machine.client.create_network("alone", ipv6=True, icc=False)


def ip6(box: Box) -> str:
    found = box.endpoints[0].ip6
    assert found
    return found


def both(box: Box) -> tuple[str, str]:
    return box.ip, ip6(box)


def test_a_port_of_a_container_with_ipv6_is_published_in_both(machine: Machine) -> None:
    with machine.run(network="red", ports=(published(8080, 80),)) as box, box.place.server(80):
        assert machine.peer.ask(HOST, 8080) == PEER
        assert machine.peer.ask(HOST6, 8080) == PEER6
        assert machine.host.ask(HOST6, 8080) == HOST6
        with machine.run(network="blue") as other:
            assert other.place.reaches(HOST6, 8080)
            assert other.place.reaches(HOST, 8080)


def test_containers_reach_outside_masqueraded(machine: Machine) -> None:
    with machine.run(network="red") as box, machine.peer.server(80), machine.peer.server(80, udp=True):
        for udp in (False, True):
            assert box.place.ask(PEER, 80, udp=udp) == HOST
            assert box.place.ask(PEER6, 80, udp=udp) == HOST6


def test_neighbours_reach_each_other_and_networks_do_not(machine: Machine) -> None:
    with (
        machine.run(network="red") as one,
        machine.run(network="red") as two,
        machine.run(network="blue") as other,
        one.place.server(80),
        one.place.server(81, udp=True),
    ):
        for address in both(one):
            assert two.place.reaches(address, 80)
            assert two.place.reaches(address, 81, udp=True)
            assert other.place.is_kept_from(address, 80)
            assert other.place.is_kept_from(address, 81, udp=True)


def test_a_network_without_icc_keeps_its_containers_apart(machine: Machine) -> None:
    with (
        machine.run(network="alone", ports=(published(8080, 80),)) as one,
        machine.run(network="alone") as two,
        one.place.server(80),
        machine.peer.server(80),
    ):
        for address in both(one):
            assert two.place.is_kept_from(address, 80)
        assert two.place.reaches(PEER, 80), "nothing at all is reached"
        assert two.place.reaches(HOST, 8080), "what is published is for everybody"


def test_an_internal_network_reaches_nothing_outside(machine: Machine) -> None:
    """Not even when a container makes itself a route."""
    with (
        machine.run(network="shut") as box,
        machine.run(network="shut") as neighbour,
        box.place.server(80),
        machine.peer.server(80),
        machine.host.server(82),
    ):
        for address in both(box):
            assert neighbour.place.reaches(address, 80)
        gateway, gateway6 = (each.gateway for each in machine.client.inspect_network("shut").subnets)
        box.place.ip(f"route add default via {gateway}")
        box.place.ip(f"-6 route add default via {gateway6}")
        for address in (PEER, PEER6):
            assert box.place.is_kept_from(address, 80)
        for address in (HOST, HOST6):
            assert box.place.is_kept_from(address, 82), "the host's other addresses are outside"
        machine.peer.ip(f"route add {box.ip}/32 via {HOST}")
        assert machine.peer.is_kept_from(box.ip, 80)
        machine.peer.ip(f"route del {box.ip}/32")


def test_the_hosts_loopback_is_closed_and_its_own_services_are_not(machine: Machine) -> None:
    with machine.run(network="red") as box, machine.host.server(8090):
        assert box.place.reaches(box.gateway, 8090)
        assert box.place.reaches(HOST, 8090)
        box.place.ip("addr del 127.0.0.1/8 dev lo")
        box.place.ip(f"route add 127.0.0.0/8 via {box.gateway}")
        box.place.set("net/ipv4/conf/all/route_localnet", "1")
        assert box.place.is_kept_from("127.0.0.1", 8090)


def test_a_gateway_of_another_network_is_not_reached(machine: Machine) -> None:
    with machine.run(network="red") as box, machine.host.server(8090):
        for subnet in machine.client.inspect_network("blue").subnets:
            assert box.place.is_kept_from(subnet.gateway, 8090)


def test_an_address_that_is_not_its_own_is_dropped(machine: Machine) -> None:
    """IP and MAC: of IPv4, of IPv6, and in what it says of itself by ARP and neighbour discovery."""
    with (
        machine.run(network="red", endpoints=(EndpointSpec(network="red", mac_address=VICTIM),)) as victim,
        machine.run(network="red", endpoints=(EndpointSpec(network="red", mac_address=LIAR),)) as liar,
        victim.place.server(80, udp=True),
    ):
        for own, address in zip(both(liar), both(victim), strict=True):
            assert liar.place.reaches(address, 80, udp=True)
            options = "/64 dev eth0 nodad" if ":" in own else "/24 dev eth0"
            fake = own[:-1] + "99" if ":" in own else own.rpartition(".")[0] + ".99"
            liar.place.ip(f"addr add {fake}{options}")
            assert liar.place.is_kept_from(address, 80, udp=True, source=fake)
        heard = victim.place.socket(socket.AF_PACKET, socket.SOCK_RAW)
        heard.bind(("eth0", ETH_P_ALL))
        heard.settimeout(0.4)
        sender = liar.place.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("eth0", 0))
        with heard, sender:
            for frame in (
                _arp(LIAR, LIAR, liar.ip),
                _arp(LIAR, LIAR, victim.ip),
                _arp(LIAR, VICTIM, liar.ip),
                _arp(VICTIM, LIAR, liar.ip),
                _frame(VICTIM, 0x0800, b"\x45" + bytes(30)),
                _frame(LIAR, 0x8100, b"\0\1\x08\x00" + bytes(40)),
                _router_advertisement(LIAR),
            ):
                sender.send(frame)
            got = _heard(heard, bytes.fromhex((LIAR + VICTIM).replace(":", "")))
        assert [frame for frame in got if frame[12:14] == b"\x08\x06"] == [_arp(LIAR, LIAR, liar.ip)]
        assert not [frame for frame in got if frame[12:14] in (b"\x08\x00", b"\x81\x00")]
        assert not [frame for frame in got if frame[12:14] == b"\x86\xdd" and frame[54:55] == b"\x86"]


def _heard(sock: socket.socket, macs: bytes) -> list[bytes]:
    """What comes from one of the two, until nothing does."""
    found: list[bytes] = []
    while True:
        try:
            frame = sock.recv(2000)
        except TimeoutError:
            return found
        if frame[6:12] in (macs[:6], macs[6:]) and frame[:6] == b"\xff" * 6:
            found.append(frame)


def _frame(source: str, kind: int, body: bytes) -> bytes:
    return b"\xff" * 6 + bytes.fromhex(source.replace(":", "")) + kind.to_bytes(2, "big") + body


def _arp(source: str, sender: str, address: str) -> bytes:
    """An announcement of an address (RFC 5227)."""
    ip = socket.inet_aton(address)
    body = b"\0\1\x08\0\x06\x04\0\1" + bytes.fromhex(sender.replace(":", "")) + ip + bytes(6) + ip
    return _frame(source, 0x0806, body)


def _router_advertisement(source: str) -> bytes:
    header = b"\x60\0\0\0\0\x10\x3a\xff" + socket.inet_pton(socket.AF_INET6, "fe80::42:ff:fe00:2")
    return _frame(source, 0x86DD, header + socket.inet_pton(socket.AF_INET6, "ff02::1") + b"\x86" + bytes(15))
