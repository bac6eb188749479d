"""Names on user networks, asked for from inside containers, as their libraries do."""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dnslib  # type: ignore[import-untyped]
import pytest
from dnskit import NXDOMAIN, addresses, ask, gateway, upstream
from networkkit import PEER
from support.forms import rounds
from support.netns import TIMEOUT

from wherry_protocol.networks import EndpointSpec

if TYPE_CHECKING:
    from networkkit import Machine

CHURN = rounds(short=5, long=200)
PACE, AT_ONCE, COUNT = 4000, 30, 1500
"""Questions a second: four fifths of what one container may ask; how many at once; and of each name."""


@pytest.fixture(scope="module", autouse=True)
def networks(machine: Machine) -> None:
    """Two networks, the first with IPv6, and one that is internal."""
    machine.client.create_network("red", ipv6=True)
    machine.client.create_network("blue")
    machine.client.create_network("shut", internal=True)


def member(name: str, *aliases: str) -> tuple[EndpointSpec, ...]:
    return (EndpointSpec(network=name, aliases=aliases),)


def test_neighbours_are_found_by_name_id_and_alias(machine: Machine) -> None:
    with (
        machine.run(network="red", name="Web", endpoints=member("red", "www")) as web,
        machine.run(network="red") as other,
    ):
        assert gateway(other)
        for name in ("Web", "web", "www", web.id[:12], "web.red", "WWW.red."):
            for tcp in (False, True):
                assert addresses(ask(other, name, tcp=tcp)) == [web.ip], name
        assert addresses(ask(other, "web", "AAAA")) == [web.endpoints[0].ip6]
        assert addresses(ask(web, "web")) == [web.ip]
        arpa = f"{'.'.join(reversed(web.ip.split('.')))}.in-addr.arpa"
        assert addresses(ask(other, arpa, "PTR")) == ["Web.red."]
        arpa6 = dnslib.DNSLabel(_arpa6(web.endpoints[0].ip6 or ""))
        assert addresses(ask(other, arpa6, "PTR")) == ["Web.red."]
        machine.client.rename(web.id, "site")
        assert addresses(ask(other, "site")) == [web.ip]


def test_a_name_without_an_address_of_the_kind_is_no_error(machine: Machine) -> None:
    """musl takes NXDOMAIN for AAAA as: the name is not there at all."""
    with machine.run(network="blue", name="old") as box:
        answer = ask(box, "old", "AAAA")
        assert (answer.header.rcode, answer.rr) == (0, [])


def test_an_alias_of_several_is_all_of_them_live(machine: Machine) -> None:
    with machine.run(network="red") as asker:
        boxes = [machine.run(network="red", endpoints=member("red", "pool")) for _ in range(3)]
        assert addresses(ask(asker, "pool")) == sorted(box.ip for box in boxes)
        first = {str(ask(asker, "pool").rr[0].rdata) for _ in range(50)}
        assert len(first) == 3, "who takes the first address takes always the same"
        machine.client.stop(boxes[0].id)
        assert addresses(ask(asker, "pool")) == sorted(box.ip for box in boxes[1:])
        for box in boxes:
            box.place.close()


def test_networks_do_not_hear_of_each_other(machine: Machine) -> None:
    with machine.run(network="shut", name="hidden"), machine.run(network="shut") as other:
        assert len(ask(other, "hidden").rr) == 1
        with machine.run(network="blue", dns=(PEER,)) as stranger, upstream(machine.peer):
            assert ask(stranger, "hidden").header.rcode == NXDOMAIN
            with pytest.raises(TimeoutError):
                ask(stranger, "hidden", server=gateway(other))


def test_a_container_on_two_networks_finds_both_as_it_joins_and_leaves(machine: Machine) -> None:
    with machine.run(network="red", name="there") as there, machine.run(network="shut") as box:
        assert ask(box, "there").header.rcode == NXDOMAIN
        machine.client.connect_network("red", box.id)
        assert addresses(ask(box, "there")) == [there.ip]
        machine.client.disconnect_network("red", box.id)
        assert ask(box, "there").header.rcode == NXDOMAIN


def test_an_internal_network_asks_nobody_outside(machine: Machine) -> None:
    """Questions are a way out, too."""
    with upstream(machine.peer) as asked, machine.run(network="shut", dns=(PEER,)) as box:
        assert ask(box, "example.org").header.rcode == NXDOMAIN
        assert asked == []


def test_other_names_are_asked_of_the_servers_given_and_kept(machine: Machine) -> None:
    with upstream(machine.peer) as asked, machine.run(network="blue", dns=(PEER,)) as box:
        for tcp in (False, False, True, True):
            assert addresses(ask(box, "example.org", tcp=tcp)) == ["198.51.100.1"]
        assert asked == ["udp example.org.", "tcp example.org."], "an answer was not kept"
        for _ in range(2):
            assert ask(box, "nothing.example.org").header.rcode == NXDOMAIN
        assert asked[2:] == ["udp nothing.example.org."], "a denial was not kept"
        big = ask(box, "big.example.org")
        assert (big.header.tc, big.rr) == (1, [])
        assert len(ask(box, "big.example.org", tcp=True).rr) == 60
        nobody = ipaddress.ip_address(box.ip) + 100
        assert ask(box, nobody.reverse_pointer, "PTR").header.rcode == NXDOMAIN
        assert len(asked) == 5, "a question about one of our addresses went outside"


def test_who_asks_for_every_connection_is_answered_every_time(machine: Machine) -> None:
    """Thousands of questions a second, of a name of ours and of others': none is dropped."""
    with (
        upstream(machine.peer),
        machine.run(network="blue", name="db") as db,
        machine.run(network="blue", dns=(PEER,)) as box,
    ):
        for name in ("db", "example.org"):
            answered = box.place.call(lambda: ask_often(gateway(box), name, COUNT))  # noqa: B023
            assert answered == COUNT, name
        assert addresses(ask(box, "db")) == [db.ip]


def ask_often(server: str, name: str, count: int) -> int:
    """Ask so many times; return how many answers came."""
    question = bytes(dnslib.DNSRecord.question(name).pack())[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        sock.settimeout(TIMEOUT)
        for asked in range(0, count, AT_ONCE):
            for number in range(AT_ONCE):
                sock.send((asked + number).to_bytes(2, "big") + question)
            for number in range(AT_ONCE):
                try:
                    sock.recv(4096)
                except TimeoutError:
                    return asked + number
            time.sleep(AT_ONCE / PACE)  # not the time that is left: who was late must not make haste
    return count


def test_garbage_gets_no_answer_and_harms_nobody(machine: Machine) -> None:
    with machine.run(network="blue", name="fine") as box:
        with box.place.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((gateway(box), 53))
            for size in (0, 1, 11, 12, 13, 60, 1400):
                sock.send(random.randbytes(size))
            sock.send(b"\0\1" * 6 + b"\xc0\x0c" * 20)
        with box.place.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.connect((gateway(box), 53))
            sock.sendall(b"\xff\xff" + random.randbytes(100))
        assert addresses(ask(box, "fine")) == [box.ip]
        assert "failed" not in machine.daemon.log


def test_names_are_there_again_after_a_restart_of_the_supervisor(machine: Machine) -> None:
    with machine.run(network="blue", name="stays") as box:
        machine.restart()
        assert addresses(ask(box, "stays")) == [box.ip]


def test_names_follow_while_containers_come_and_go(machine: Machine) -> None:
    """Each is found from the moment its start is answered until it is removed, however many come and go."""

    def come_and_go(number: int) -> None:
        name = f"churn{number}"
        for _ in range(CHURN):
            with machine.run(network="blue", name=name, endpoints=member("blue", "all")) as box:
                assert addresses(ask(asker, name)) == [box.ip]
                assert box.ip in addresses(ask(asker, "all"))
                machine.client.remove(box.id, force=True)
                assert ask(asker, name).header.rcode == NXDOMAIN
                assert box.ip not in addresses(ask(asker, "all"))

    with (
        upstream(machine.peer),
        machine.run(network="blue", dns=(PEER,)) as asker,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(come_and_go, range(4)))


def _arpa6(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer
