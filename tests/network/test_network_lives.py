"""Networks across what happens to supervisors: killed, started again, side by side, gone."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, PEER, Machine, published
from support.daemon import Daemon
from support.netns import Place
from support.reboot import go_down
from support.waiting import wait_for

from wherry import EndpointSpec, RestartPolicy, RunSpec
from wherry.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own_machine(busybox: Path) -> Iterator[Machine]:
    """A machine of this test's own, whose supervisor may be killed."""
    made = Machine(busybox)
    try:
        yield made
    finally:
        made.close()


def links(machine: Machine) -> set[str]:
    """The links of networks on the machine."""
    return set(machine.host.call(machine.daemon.links))


def test_containers_keep_their_networks_when_the_supervisor_is_killed(own_machine: Machine) -> None:
    """Addresses and links are the same after it; no address is given twice; new ones reach them."""
    machine = own_machine
    machine.client.create_network("lan", subnets=("10.77.0.0/29",))
    with machine.run(name="one", network="lan") as one, machine.run(name="two", network="lan") as two:
        before = [one.endpoints, two.endpoints]
        machine.daemon.kill()
        machine.host.call(machine.daemon.start)
        with machine.daemon.client() as client:
            assert [client.inspect(name).endpoints for name in ("one", "two")] == before
            assert {member.name for member in client.inspect_network("lan").members} == {"one", "two"}
            asked = EndpointSpec(network="lan", ip=one.ip)
            with pytest.raises(Conflict, match=f"address {one.ip} of network lan is in use"):
                client.run_detached(machine.spec(network="lan", endpoints=(asked,)))
            with two.place.server(80):
                assert one.place.ask(two.ip, 80) == one.ip
                others = [client.run_detached(machine.spec(network="lan")) for _ in range(3)]
                addresses = {client.inspect(each.id).endpoints[0].ip for each in others}
                assert len(addresses | {one.ip, two.ip}) == 5
            with pytest.raises(Conflict, match="is full"):
                client.run_detached(machine.spec(network="lan"))


def test_what_ended_while_nobody_watched_leaves_no_address(own_machine: Machine) -> None:
    machine = own_machine
    machine.client.create_network("lan", subnets=("10.77.0.0/30",))
    with machine.run(name="one", network="lan") as one:
        pid = one.details().pid
        assert pid is not None
        machine.daemon.kill()
        os.kill(pid, signal.SIGKILL)
    machine.host.call(machine.daemon.start)
    with machine.daemon.client() as client:
        assert client.inspect("one").endpoints == ()
        client.start("one")
        assert client.inspect("one").endpoints[0].ip == one.ip, "the only address there is"


def test_a_killed_supervisor_leaves_no_link_but_the_containers(own_machine: Machine) -> None:
    """What it kept ready goes with it; what it could not take away goes when it is back."""
    machine = own_machine
    names = machine.daemon.instance
    with machine.run() as box:
        machine.daemon.kill()
        mine = {box.endpoints[0].link, names}
        assert wait_for(lambda: links(machine) == mine), f"{links(machine)} instead of {mine}"
        stray = box.endpoints[0].link[:7] + "deadbeef"
        machine.host.ip(f"link add {stray} type veth peer name elsewhere")
        machine.host.call(machine.daemon.start)
        assert wait_for(lambda: stray not in links(machine)), "a stray link of ours stays"
        assert box.place.ip("link show eth0")


def test_a_supervisor_that_ends_leaves_nothing_on_the_host(own_machine: Machine) -> None:
    """Neither bridge nor rule, unless a container still runs on it; its networks come back with it."""
    machine = own_machine
    machine.client.create_network("lan", subnets=("10.77.0.0/24",))
    with machine.run(network="lan") as box:
        machine.daemon.terminate()
        assert box.endpoints[0].link in links(machine)
        assert any(name.startswith("wn") for name in links(machine)), "the bridge of a running container"
        machine.host.call(machine.daemon.start)
    machine.daemon.remove_containers()
    machine.daemon.terminate()
    assert links(machine) == set(), machine.daemon.log
    assert machine.tables() == ""
    machine.host.call(machine.daemon.start)
    with machine.daemon.client() as client:
        assert client.inspect_network("lan").subnets[0].subnet == "10.77.0.0/24"
        spec = machine.spec(network="lan", command=("true",), auto_remove=True)
        assert client.run(spec).exit_code == 0


def test_after_the_machine_went_down_addresses_and_ports_are_accounted_anew(own_machine: Machine) -> None:
    """Nobody has them but who runs; what has a port and is always started comes back with that port."""
    machine = own_machine
    always = RestartPolicy(name="always")
    machine.client.create_network("lan", subnets=("10.77.0.0/29",))
    web = (published(8080, 80),)
    machine.client.run_detached(machine.spec(name="web", network="lan", ports=web, restart=always))
    machine.client.run_detached(machine.spec(name="once", network="lan", ports=(published(8081, 80),)))
    for name in ("a", "b", "c"):
        machine.client.run_detached(machine.spec(name=name, network="lan"))
    with pytest.raises(Conflict, match="is full"):
        machine.client.run_detached(machine.spec(network="lan"))
    machine.client.close()
    go_down(machine.daemon)
    for name in links(machine):
        machine.host.ip(f"link del {name}", check=False)  # one of a pair takes the other along
    machine.host.nft("flush ruleset")
    machine.host.set("net/ipv4/ip_forward", "0")
    machine.host.call(machine.daemon.start)
    assert wait_for(lambda: machine.client.inspect("web").summary.state == "running")
    with Place.of(machine.client.inspect("web").pid or 0) as place, place.server(80):
        assert machine.peer.ask(HOST, 8080) == PEER
    assert "net.ipv4.ip_forward was set to 1" in machine.daemon.cli("info").stdout
    assert machine.published() == {("tcp", 8080)}
    assert [member.name for member in machine.client.inspect_network("lan").members] == ["web"]
    with pytest.raises(Conflict, match="port 8080/tcp is in use by container web"):
        machine.client.run_detached(machine.spec(ports=web))
    machine.client.run_detached(machine.spec(network="lan", ports=(published(8081, 80),)))
    for _ in range(3):
        machine.client.run_detached(machine.spec(network="lan"))
    members = machine.client.inspect_network("lan").members
    assert len({member.endpoint.ip for member in members}) == 5, "an address of before is still taken"


def test_two_supervisors_side_by_side_touch_nothing_of_each_other(own_machine: Machine) -> None:
    """Their default networks have subnets, links and rules of their own, and exchange no packet."""
    machine = own_machine
    other = Daemon()
    other.default_network = "bridge"
    try:
        machine.host.call(other.start)
        with other.client() as client, machine.run() as box, box.place.server(80):
            spec = RunSpec(image=machine.image, command=("sleep", "1000"), stop_timeout=0.0)
            theirs = client.run_detached(spec)
            (endpoint,) = client.inspect(theirs.id).endpoints
            ours = machine.client.inspect_network("bridge").subnets[0]
            assert ours.subnet != client.inspect_network("bridge").subnets[0].subnet
            pid = client.inspect(theirs.id).pid
            assert pid is not None
            with Place.of(pid) as place:
                assert place.is_kept_from(box.ip, 80), "networks of two supervisors reach each other"
            assert endpoint.link not in machine.host.call(machine.daemon.links)
            client.remove(theirs.id, force=True)
            machine.host.call(other.terminate)
            assert machine.host.reaches(box.ip, 80), "the other's end took something of ours along"
            machine.host.call(other.start)
    finally:
        machine.host.call(other.close)
