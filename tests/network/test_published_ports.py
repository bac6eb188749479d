"""Published ports, with real packets from everywhere they may come from."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, PEER, published
from support.forms import rounds
from support.netns import DROPPED
from support.waiting import wait_for

from wherry.errors import BadRequest, CommandNotFound, Conflict

if TYPE_CHECKING:
    from networkkit import Machine

    from wherry_protocol.ports import PublishedPort


ANY = "0.0.0.0"  # noqa: S104 - compared, not bound
FAILURES = rounds(short=20, long=1000)
"""Starts that fail."""

RACES = rounds(short=1, long=50)
"""Of fifty for one port."""


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_published_port_is_reached_from_everywhere(machine: Machine, udp: bool) -> None:
    """From another machine with its address kept, from the host by any address, from other containers."""
    port = published(8080, 80, protocol="udp" if udp else "tcp")
    with machine.run(ports=(port,)) as box, machine.run() as other, box.place.server(80, udp=udp):
        assert machine.peer.ask(HOST, 8080, udp=udp) == PEER
        assert machine.host.ask(HOST, 8080, udp=udp) == HOST
        assert machine.host.ask("127.0.0.1", 8080, udp=udp) == box.gateway
        assert other.place.ask(HOST, 8080, udp=udp)
        assert other.place.ask(other.gateway, 8080, udp=udp)
    assert machine.peer.is_kept_from(HOST, 8081, udp=udp)


def test_one_that_ended_is_not_reached_and_its_port_is_free(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)) as box, box.place.server(80):
        assert machine.peer.reaches(HOST, 8080)
        machine.client.stop(box.id)
    assert wait_for(lambda: not machine.published())
    assert machine.peer.is_kept_from(HOST, 8080)
    with machine.host.server(8080):
        assert machine.peer.ask(HOST, 8080) == PEER, "the host's own server does not get what comes"


def test_a_udp_client_that_goes_on_reaches_whoever_has_the_port_now(machine: Machine) -> None:
    """The kernel remembers where a flow went; a container that came later, at another address, gets it."""
    port = published(8080, 80, protocol="udp")
    with machine.peer.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((HOST, 8080))
        client.send(b"too early")
        for _ in range(3):
            with machine.run(ports=(port,)) as box, box.place.server(80, udp=True):
                assert wait_for(lambda: _answers(client)), "packets go where they went before"
                machine.client.remove(box.id, force=True)
            with machine.run():
                pass  # so that the next one has another address


def test_a_loopback_port_is_the_hosts_alone(machine: Machine) -> None:
    """Nobody on the wire reaches 127.0.0.1's port: not by the host's address, the container's, or a trick."""
    port = published(8080, 80, host_ip="127.0.0.1")
    with machine.run(ports=(port,)) as box, machine.run() as other, box.place.server(80):
        assert machine.host.ask("127.0.0.1", 8080) == box.gateway
        assert machine.host.is_kept_from(HOST, 8080)
        assert machine.peer.is_kept_from(HOST, 8080)
        assert other.place.is_kept_from(HOST, 8080)
        machine.peer.ip(f"route add {box.ip}/32 via {HOST}")
        assert machine.peer.is_kept_from(box.ip, 80), "a neighbour routes straight to the container"
        for attacker, through in ((machine.peer, HOST), (other.place, other.gateway)):
            attacker.set("net/ipv4/conf/all/route_localnet", "1")
            attacker.ip("addr del 127.0.0.1/8 dev lo")
            attacker.ip(f"route add 127.0.0.0/8 via {through}")
            assert attacker.is_kept_from("127.0.0.1", 8080), "packets to 127.0.0.1 come in by the wire"
            attacker.ip("route del 127.0.0.0/8")
            attacker.ip("addr add 127.0.0.1/8 dev lo")
        machine.peer.ip(f"route del {box.ip}/32")


def test_nothing_but_a_published_port_is_reached_from_outside(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)) as box, box.place.server(80), box.place.server(81):
        machine.peer.ip(f"route add {box.ip}/32 via {HOST}")
        try:
            assert machine.peer.is_kept_from(box.ip, 80)
            assert machine.peer.is_kept_from(box.ip, 81)
            assert machine.peer.is_kept_from(box.gateway, 8080)
        finally:
            machine.peer.ip(f"route del {box.ip}/32")


def test_a_port_in_use_is_refused_before_anything_starts(machine: Machine) -> None:
    """The error names the port and who has it: a container of ours, or a process."""
    with machine.run(name="first", ports=(published(8080, 80),)):
        with pytest.raises(Conflict, match="port 8080/tcp is in use by container first"):
            machine.run(name="second", ports=(published(8081, 80), published(8080, 80)))
        assert machine.published() == {("tcp", 8080)}
    with machine.host.server(8090):
        with pytest.raises(Conflict, match=r"port 8090/tcp is in use by .* \(pid \d+\)"):
            machine.run(ports=(published(8090, 80),))
        with machine.run(ports=(published(8090, 80, protocol="udp"),)):
            pass
    assert machine.host.call(lambda: _can_listen(8081)), "a failed start keeps a port"


def test_a_published_port_is_nobody_elses(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)):
        assert not machine.host.call(lambda: _can_listen(8080))


def test_of_racers_for_a_port_one_wins(machine: Machine) -> None:
    for _ in range(RACES):
        _race(machine)
        machine.daemon.remove_containers()
        assert wait_for(lambda: not machine.published())
        assert machine.host.call(lambda: _can_listen(8080)), "whoever lost keeps the port"


def _race(machine: Machine) -> None:
    won: list[str] = []
    lost: list[Exception] = []

    def race() -> None:
        with machine.daemon.client() as client:
            try:
                won.append(client.run_detached(machine.spec(ports=(published(8080, 80),))).id)
            except Conflict as error:
                lost.append(error)

    racers = [threading.Thread(target=race) for _ in range(50)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert (len(won), len(lost)) == (1, 49)
    assert {container.id for container in machine.client.list(all=True)} == set(won)
    assert machine.published() == {("tcp", 8080)}


def test_a_free_port_is_chosen_and_shown(machine: Machine) -> None:
    with machine.run(name="web", ports=(published(None, 80),), expose=("443/tcp",)) as box:
        found = box.details().summary.ports
        number = found[0].host_port
        assert number
        assert [(each.host_ip, each.host_port) for each in found[:2]] == [(ANY, number), ("::", number)]
        assert (found[2].container_port, found[2].host_port) == (443, None)
        with box.place.server(80):
            assert machine.peer.ask(HOST, number) == PEER
        row = machine.daemon.cli("ps", "--format", "{{.Ports}}").stdout.strip()
        assert row == f"0.0.0.0:{number}->80/tcp, [::]:{number}->80/tcp, 443/tcp"
        assert (
            machine.daemon.cli("port", "web").stdout
            == f"80/tcp -> 0.0.0.0:{number}\n80/tcp -> [::]:{number}\n"
        )
        assert machine.daemon.cli("port", "web", "80/tcp").stdout == f"0.0.0.0:{number}\n[::]:{number}\n"
        missing = machine.daemon.cli("port", "web", "81")
        assert (missing.exit_code, missing.stderr) == (
            125,
            "wherry: container web: its port 81/tcp is not published\n",
        )


def test_of_a_range_the_first_free_port_is_taken(machine: Machine) -> None:
    port = published(8080, 80, host_port_end=8082)
    with machine.run(ports=(port,)) as one, machine.run(ports=(port,)) as two:
        taken = [box.details().summary.ports[0].host_port for box in (one, two)]
        assert taken == [8080, 8081]


def test_publish_all_takes_what_is_exposed(machine: Machine) -> None:
    fields = {"publish_all": True, "expose": ("80/tcp", "53/udp"), "ports": (published(8080, 80),)}
    with machine.run(**fields) as box:
        found = {(each.container_port, each.protocol): each.host_port for each in box.details().summary.ports}
        assert found.keys() == {(80, "tcp"), (53, "udp")}
        assert found[80, "tcp"] == 8080
        assert found[53, "udp"]


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (published(0, 80), "published port 0 is out of range"),
        (published(70000, 80), "published port 70000 is out of range"),
        (published(80, 65536), "published port 65536 is out of range"),
        (published(80, 80, host_port_end=79), "runs backwards"),
        (published(80, 80, host_ip="example.org"), "'example.org' is no IP address"),
        (published(80, 80, host_ip="198.51.100.7"), "198.51.100.7 is not an address of this host"),
        (published(80, 80, host_ip="fe80::1%eth0"), "'fe80::1%eth0' is an address with a link"),
        (published(80, 80, host_ip="::1%lo : 1 } #"), "is an address with a link"),
    ],
)
def test_what_cannot_be_published_is_said(machine: Machine, port: object, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        machine.run(ports=(port,))
    assert not machine.client.list(all=True)


@pytest.mark.parametrize(
    ("first", "second", "twice"),
    [
        (published(8080, 80), published(8080, 81), True),
        (published(8080, 80), published(8080, 81, host_ip="127.0.0.1"), True),
        (published(8080, 80, host_ip="127.0.0.1"), published(8080, 81), True),
        (published(8080, 80), published(8080, 80, protocol="udp"), False),
        (published(8080, 80, host_ip="127.0.0.1"), published(8080, 81, host_ip=HOST), False),
        (published(8080, 80), published(8080, 81, host_port_end=8081), False),
    ],
)
def test_a_port_is_not_published_twice(
    machine: Machine, first: PublishedPort, second: PublishedPort, twice: bool
) -> None:
    if not twice:
        with machine.run(ports=(first, second)):
            return
    with pytest.raises(BadRequest, match="port 8080/tcp is published twice"):
        machine.run(ports=(first, second))


def test_failing_starts_leave_no_port_and_no_rule(machine: Machine) -> None:
    spec = machine.spec(command=("/nothing",), ports=(published(8080, 80), published(None, 81)))
    with machine.run(ports=(published(8079, 80),)):
        for _ in range(FAILURES):
            with pytest.raises(CommandNotFound):
                machine.client.run(spec)
        assert wait_for(lambda: machine.published() == {("tcp", 8079)}), machine.published()
        with machine.run(ports=(published(8080, 80),)):
            assert machine.published() == {("tcp", 8079), ("tcp", 8080)}


def _answers(client: socket.socket) -> bool:
    client.settimeout(DROPPED)
    try:
        client.send(b"?")
        return bool(client.recv(100))
    except OSError:
        return False


def _can_listen(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
            sock.listen()
        except OSError:
            return False
    return True
