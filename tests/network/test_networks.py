"""Containers on networks, with real packets: who is where, who reaches whom, who comes and goes."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from networkkit import PEER, Machine
from support.forms import rounds
from support.netns import DROPPED, TIMEOUT
from support.waiting import wait_for

from wherry import EndpointSpec
from wherry.errors import BadRequest, CommandNotFound, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networkkit import Box

    from wherry import NetworkSummary

CROWD = rounds(short=20, long=200)
"""Containers on one network."""

FAILURES = rounds(short=20, long=1000)
"""Starts that fail."""


@pytest.fixture
def lan(machine: Machine) -> Iterator[NetworkSummary]:
    """A network of IPv4 and IPv6, removed after the test."""
    network = machine.client.create_network("lan", subnets=("10.77.0.0/24", "fd77::/64"))
    yield network
    machine.daemon.remove_containers()
    machine.client.remove_network("lan")


def ours(machine: Machine, beginning: str) -> list[str]:
    """The links on the machine whose names begin so."""
    names = [each["ifname"] for each in json.loads(machine.host.ip("-json link show"))]
    return [name for name in names if name.startswith(beginning)]


def inspect(machine: Machine, ref: str) -> NetworkSummary:
    return machine.client.inspect_network(ref)


# -- what a container has


def test_a_container_gets_an_address_a_gateway_and_a_way_out(machine: Machine) -> None:
    """eth0 and a default route; what goes out has the host's address; the gateway answers."""
    with machine.run() as box, machine.peer.server(90), machine.host.server(91):
        assert box.place.ask(PEER, 90) == "192.0.2.2", "the neighbour sees the host, not the container"
        assert box.place.ask(box.gateway, 91) == box.ip
        assert "dev eth0" in box.place.ip("route show default")
        (network,) = [each for each in machine.client.networks() if each.name == "bridge"]
        assert network.subnets[0].gateway == box.gateway
        assert [member.endpoint.ip for member in network.members] == [box.ip]


def test_the_default_subnet_clashes_with_no_route_of_the_host(machine: Machine) -> None:
    network = inspect(machine, "bridge")
    default = network.subnets[0].subnet
    assert default.endswith("/16")
    assert wait_for(lambda: f"{default} dev {network.bridge}" in machine.host.ip("route show"))


def test_sys_shows_the_links_of_the_container(machine: Machine) -> None:
    """Each kit of a worker is made in another network namespace than the container's."""
    for _ in range(3):
        result = machine.client.run(machine.spec(command=("ls", "/sys/class/net"), auto_remove=True))
        assert sorted(result.stdout.split()) == [b"eth0", b"lo"]


def test_etc_files_say_what_the_container_is_called_and_who_answers(machine: Machine) -> None:
    spec = machine.spec(
        command=("cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"), hostname="web.example.com",
        dns=("192.0.2.53",), dns_search=("example.com",), dns_options=("ndots:2",),
        extra_hosts=("db:10.1.2.3", "outside:host-gateway"), auto_remove=True,
    )  # fmt: skip
    text = machine.client.run(spec).stdout.decode()
    gateway = inspect(machine, "bridge").subnets[0].gateway
    assert "\tweb.example.com web\n" in text
    assert f"10.1.2.3\tdb\n{gateway}\toutside\n" in text
    assert "nameserver 192.0.2.53\nsearch example.com\noptions ndots:2\nweb.example.com\n" in text


def test_address_and_mac_are_those_that_were_asked_for(machine: Machine, lan: NetworkSummary) -> None:
    asked = EndpointSpec(network="lan", ip="10.77.0.40", ip6="fd77::40", mac_address="02:00:00:00:00:40")
    with machine.run(network="lan", endpoints=(asked,)) as box:
        shown = box.place.ip("addr show dev eth0")
        for text in ("10.77.0.40/24", "fd77::40/64", "02:00:00:00:00:40"):
            assert text in shown
        assert box.endpoints[0].mac_address == "02:00:00:00:00:40"


def test_containers_reach_each_other_by_both_versions_of_ip(machine: Machine, lan: NetworkSummary) -> None:
    with machine.run(network="lan") as one, machine.run(network="lan") as two, two.place.server(80):
        assert one.place.ask(two.ip, 80) == one.ip
        ip6 = two.endpoints[0].ip6
        assert ip6 is not None
        assert one.place.ask(ip6, 80) == one.endpoints[0].ip6


def test_no_ipv6_where_none_was_asked_for(machine: Machine) -> None:
    """Not even link-local: a neighbour could reach what listens on ::."""
    with machine.run() as box:
        assert "inet6" not in box.place.ip("addr show dev eth0")
    bridge = inspect(machine, "bridge").bridge
    assert "inet6" not in machine.host.ip(f"addr show dev {bridge}")


def test_a_container_shares_the_network_of_another(machine: Machine) -> None:
    with machine.run(name="web") as web, machine.run(network="container:web") as beside:
        assert os.fstat(web.place.fd).st_ino == os.fstat(beside.place.fd).st_ino
        machine.client.stop("web")
        with pytest.raises(Conflict, match="web is not running"):
            machine.client.run_detached(machine.spec(network="container:web"))


def test_two_networks_at_once_and_one_way_out(machine: Machine, lan: NetworkSummary) -> None:
    both = (EndpointSpec(network="lan"), EndpointSpec(network="bridge"))
    with machine.run(network="lan", endpoints=both) as box:
        assert [each.interface for each in box.endpoints] == ["eth0", "eth1"]
        assert [each.primary for each in box.endpoints] == [True, False]
        assert box.place.ip("route show default").count("default") == 1


# -- coming and going


def test_connect_and_disconnect_while_it_runs(machine: Machine, lan: NetworkSummary) -> None:
    """Links, routes and /etc/hosts follow; a restart comes back to what was decided."""
    with machine.run(name="web") as box:
        machine.client.connect_network("lan", "web", ip="10.77.0.9", aliases=("w",))
        assert "10.77.0.9/24" in box.place.ip("addr show dev eth1")
        assert [m.name for m in inspect(machine, "lan").members] == ["web"]
        machine.client.disconnect_network("bridge", "web")
        assert "eth0" not in box.place.ip("link show")
        assert "via 10.77.0.1 dev eth1" in box.place.ip("route show default"), (
            "the way out is the other's now"
        )
        hosts = machine.client.exec("web", ["cat", "/etc/hosts"]).stdout.decode()
        assert "10.77.0.9\t" in hosts
        assert box.ip not in hosts
        machine.client.restart("web")
        (endpoint,) = machine.client.inspect("web").endpoints
        assert (endpoint.network, endpoint.ip, endpoint.aliases) == ("lan", "10.77.0.9", ("w",))


def test_a_container_without_network_can_get_one_and_lose_it(machine: Machine, lan: NetworkSummary) -> None:
    with machine.run(network="none", name="web") as box:
        machine.client.connect_network("lan", "web")
        assert "via 10.77.0.1" in box.place.ip("route show default")
        machine.client.disconnect_network("lan", "web")
        assert machine.client.inspect("web").spec.network == "none"
        assert [
            line for line in box.place.ip("-o link show").splitlines() if "eth" in line.split(":")[1]
        ] == []


def test_what_cannot_be_connected_stays_as_it_is(machine: Machine, lan: NetworkSummary) -> None:
    with machine.run(name="web", network="lan") as box, machine.run(name="hostly", network="host"):
        for network, ref, fields, error, text in (
            ("lan", "web", {}, Conflict, "on network lan already"),
            ("lan", "hostly", {}, Conflict, "is in the host's network"),
            ("nope", "web", {}, NotFound, "no network nope"),
            ("bridge", "web", {"ip": "10.0.0.1"}, BadRequest, "is not in network bridge"),
            ("bridge", "web", {"mac_address": "01:00:00:00:00:01"}, BadRequest, "MAC address"),
        ):
            with pytest.raises(error, match=text):
                machine.client.connect_network(network, ref, **fields)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="web is not on network bridge"):
            machine.client.disconnect_network("bridge", "web")
        assert machine.client.inspect("web").endpoints == box.endpoints


@pytest.mark.parametrize("internal", [False, True])
def test_a_flow_that_was_there_before_is_no_way_out_of_an_internal_network(
    machine: Machine, internal: bool
) -> None:
    """It began when a network that is no more had the address; of one like it, it goes on."""
    with machine.peer.server(80, udp=True):
        for again in (False, True):
            network = machine.client.create_network(
                "lan", subnets=("10.77.0.0/24",), internal=again and internal
            )
            endpoint = EndpointSpec(network="lan", ip="10.77.0.9")
            try:
                with machine.run(network="lan", endpoints=(endpoint,)) as box:
                    assert is_answered(box, from_port=7777) is not network.internal
            finally:
                machine.daemon.remove_containers()
                machine.client.remove_network("lan")


def is_answered(box: Box, *, from_port: int) -> bool:
    """Say whether a packet to outside is answered; on an internal network it makes itself a route."""
    (endpoint,) = box.endpoints
    internal = box.machine.client.inspect_network(endpoint.network).internal
    if internal:
        box.place.ip("route add default via 10.77.0.1")
    with box.place.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", from_port))
        sock.settimeout(DROPPED if internal else TIMEOUT)
        sock.sendto(b"?", (PEER, 80))
        try:
            return bool(sock.recv(100))
        except TimeoutError:
            return False


def test_a_network_in_use_is_not_removed(machine: Machine, lan: NetworkSummary) -> None:
    with machine.run(name="web", network="lan"):
        with pytest.raises(Conflict, match="lan is used by container web"):
            machine.client.remove_network("lan")
        assert machine.client.prune_networks() == ()
        assert ours(machine, lan.bridge) == [lan.bridge]


# -- too many, too few


@pytest.mark.parametrize(("subnet", "room"), [("10.78.0.0/29", 5), ("10.78.0.0/27", 29)])
def test_a_full_subnet_is_one_clear_line_and_what_ends_makes_room(
    machine: Machine, subnet: str, room: int
) -> None:
    """What was only kept ready gives its addresses up."""
    machine.client.create_network("tiny", subnets=(subnet,))
    boxes = [machine.client.run_detached(machine.spec(network="tiny")) for _ in range(room)]
    assert len({machine.client.inspect(box.id).endpoints[0].ip for box in boxes}) == room
    with pytest.raises(Conflict, match=f"network tiny is full: {subnet}"):
        machine.client.run_detached(machine.spec(network="tiny"))
    machine.client.stop(boxes[0].id)
    machine.client.run_detached(machine.spec(network="tiny"))
    machine.daemon.remove_containers()
    machine.client.remove_network("tiny")


def test_failing_starts_leak_no_address_link_or_rule(machine: Machine) -> None:
    """On a /29, so that a fifth leak would be an error."""
    network = machine.client.create_network("tiny", subnets=("10.78.0.0/29",))
    before = machine.tables()
    for _ in range(FAILURES):
        with pytest.raises(CommandNotFound):
            machine.client.run_detached(machine.spec(network="tiny", command=("/no/such",)))
    boxes = [machine.client.run_detached(machine.spec(network="tiny")) for _ in range(5)]
    for box in boxes:
        machine.client.remove(box.id, force=True)
    machine.client.remove_network("tiny")
    assert wait_for(lambda: len(ours(machine, "wv")) <= 6), "links are left"
    assert network.bridge not in machine.tables()
    assert len(machine.tables()) <= len(before) + 500


def test_a_crowd_on_one_network_has_an_address_each(machine: Machine) -> None:
    machine.client.create_network("crowd", subnets=("10.79.0.0/23",))
    with ThreadPoolExecutor(8) as pool:

        def start(_: int) -> str:
            return machine.client.run_detached(machine.spec(network="crowd")).id

        ids = list(pool.map(start, range(CROWD)))
    addresses = {member.endpoint.ip for member in inspect(machine, "crowd").members}
    assert len(addresses) == CROWD
    with machine.run(network="crowd") as one, one.place.server(80):
        from support.netns import Place

        pid = machine.client.inspect(ids[-1]).pid
        assert pid is not None
        with Place.of(pid) as last:
            assert last.reaches(one.ip, 80)
    machine.daemon.remove_containers()
    machine.client.remove_network("crowd")


# -- bad input


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"name": "x", "subnets": ("10.1.2.3/24",)}, BadRequest, "bits set behind its prefix"),
        ({"name": "x", "subnets": ("10.300.0.0/24",)}, BadRequest, "is malformed"),
        ({"name": "x", "subnets": ("192.0.2.0/25",)}, Conflict, "overlaps 192.0.2.0/24"),
        ({"name": "x", "subnets": ("10.77.0.128/25",)}, Conflict, "overlaps 10.77.0.0/24"),
        ({"name": "x", "subnets": ("10.1.0.0/24", "10.2.0.0/24")}, BadRequest, "one subnet of IPv4"),
        ({"name": "x", "gateways": ("10.1.0.1",)}, BadRequest, "is in no subnet"),
        (
            {"name": "x", "subnets": ("10.1.0.0/24",), "gateways": ("10.1.0.0",)},
            BadRequest,
            "stands for the whole",
        ),
        ({"name": "lan"}, Conflict, "lan exists already"),
        ({"name": "bridge"}, BadRequest, "has a meaning of its own"),
        ({"name": "a/b"}, BadRequest, "is not allowed"),
        ({"name": ""}, BadRequest, "is not allowed"),
        ({"name": "x", "driver": "overlay"}, BadRequest, "there is one: bridge"),
        ({"name": "x", "labels": {"": "v"}}, BadRequest, "the key is empty"),
    ],
)
def test_a_network_that_cannot_be_is_refused_and_nothing_is_left(
    machine: Machine, lan: NetworkSummary, fields: dict[str, object], error: type[Exception], text: str
) -> None:
    before = [each.name for each in machine.client.networks()]
    with pytest.raises(error, match=text):
        machine.client.create_network(**fields)  # type: ignore[arg-type]
    assert [each.name for each in machine.client.networks()] == before
    assert wait_for(lambda: ours(machine, "wn") == [lan.bridge])


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"network": "nope"}, NotFound, "no network nope"),
        ({"network": "no/pe"}, BadRequest, "no network can be called so"),
        ({"network": "container:nope"}, NotFound, "no container nope"),
        ({"network": "container:"}, BadRequest, "name or id is missing"),
        ({"network": "none", "endpoints": (EndpointSpec(network="lan"),)}, BadRequest, "cannot be combined"),
        (
            {"network": "host", "endpoints": (EndpointSpec(network="host", ip="10.0.0.1"),)},
            BadRequest,
            "no addresses",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", ip="10.77.0.1"),)},
            Conflict,
            "the gateway's",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", ip="1.2.3.4"),)},
            BadRequest,
            "is not in",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", ip="x"),)},
            BadRequest,
            "no IP address",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", ip="fd77::2"),)},
            BadRequest,
            "of IPv4",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", aliases=("a b",)),)},
            BadRequest,
            "no host name",
        ),
        (
            {"endpoints": (EndpointSpec(network="lan"), EndpointSpec(network="lan"))},
            BadRequest,
            "asked for twice",
        ),
        (
            {"network": "lan", "endpoints": (EndpointSpec(network="lan", ip6="fd77::9%x } ; #"),)},
            BadRequest,
            "is an address with a link",
        ),
        ({"dns": ("dns.example",)}, BadRequest, "no IP address"),
        ({"dns_search": ("a\nnameserver 6.6.6.6",)}, BadRequest, "cannot stand in resolv.conf"),
        ({"extra_hosts": ("db",)}, BadRequest, "no IP address"),
        ({"extra_hosts": ("a b:1.2.3.4",)}, BadRequest, "no host name"),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_nothing_is_left(
    machine: Machine, lan: NetworkSummary, fields: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        machine.client.run_detached(machine.spec(**fields))
    assert machine.client.list(all=True) == ()
