"""What somebody removes by hand is there again within five seconds, said in an event and the log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, PEER, published
from support.forms import within
from support.netns import DROPPED, Place
from support.waiting import wait_for

from wherry import Event
from wherryd.network.pool import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networkkit import Box, Machine

PROMISED = within(5.0)


@pytest.fixture
def host() -> Iterator[Place]:
    """A network namespace with nothing in it."""
    place = Place.new()
    yield place
    place.close()


@pytest.fixture
def box(machine: Machine) -> Iterator[Box]:
    with machine.run(name="web", ports=(published(8080, 80),)) as made, made.place.server(80):
        yield made


@contextmanager
def told(machine: Machine, what: str) -> Iterator[None]:
    """Expect a repair of something, in time, in an event and in the log."""
    start, said = time.time(), machine.daemon.log.count("repaired")
    yield
    assert wait_for(lambda: what in repairs(machine, start), PROMISED), (
        f"no event says that {what} is repaired"
    )
    assert machine.daemon.log.count("repaired") > said


def repairs(machine: Machine, since: float) -> list[str]:
    with machine.client.events(since=since, until=time.time(), filters=[("event", "repair")]) as events:
        return [event.attributes["what"] for event in events if isinstance(event, Event)]


def works(machine: Machine, box: Box) -> bool:
    return (
        machine.peer.reaches(HOST, 8080, patience=DROPPED)
        and machine.host.reaches("127.0.0.1", 8080, patience=DROPPED)
        and machine.host.reaches(box.ip, 80, patience=DROPPED)
    )


@pytest.mark.parametrize(
    "removal",
    [
        "flush ruleset",
        "delete table inet TABLE",
        "delete table bridge TABLE",
        "flush map inet TABLE anyports4",
    ],
)
def test_rules_are_repaired(machine: Machine, box: Box, removal: str) -> None:
    before = machine.tables()
    table = next(line.split()[2] for line in before.splitlines() if line.startswith("table inet"))
    with told(machine, "rules"):
        machine.host.nft(removal.replace("TABLE", table))
    assert wait_for(lambda: works(machine, box), PROMISED)
    assert _sorted(machine.tables()) == _sorted(before)


def test_others_rules_are_never_touched(machine: Machine, box: Box) -> None:
    machine.host.nft("add table inet theirs")
    machine.host.nft("add chain inet theirs mine")
    table = next(line.split()[2] for line in machine.tables().splitlines() if line.startswith("table inet w"))
    with told(machine, "rules"):
        machine.host.nft(f"delete table inet {table}")
    assert "chain mine" in machine.host.nft("list table inet theirs")
    machine.host.nft("delete table inet theirs")


def test_rules_of_others_that_are_in_the_way_are_said(machine: Machine, box: Box) -> None:
    machine.host.nft("add table inet theirs")
    machine.host.nft("add chain inet theirs walls { type filter hook forward priority 0 ; policy drop ; }")
    try:
        with told(machine, "rules"):
            machine.host.nft(f"flush chain inet {_table(machine)} input")
        assert machine.peer.is_kept_from(HOST, 8080)
        said = machine.daemon.cli("info").stdout
        assert "nftables chain inet theirs walls drops forwarded packets" in said
    finally:
        machine.host.nft("delete table inet theirs")


def test_a_bridge_is_repaired_with_its_containers(machine: Machine, box: Box) -> None:
    bridge = machine.client.inspect_network("bridge").bridge
    with told(machine, "bridge"):
        machine.host.ip(f"link del {bridge}")
    assert wait_for(lambda: works(machine, box), PROMISED)
    assert machine.peer.ask(HOST, 8080) == PEER
    with machine.run() as other:
        assert other.place.reaches(box.ip, 80)


def test_a_bridges_address_is_repaired(machine: Machine, box: Box) -> None:
    network = machine.client.inspect_network("bridge")
    with told(machine, "bridge"):
        machine.host.ip(f"addr del {network.subnets[0].gateway}/16 dev {network.bridge}")
    assert wait_for(lambda: works(machine, box), PROMISED)


def test_a_containers_link_is_repaired(machine: Machine, box: Box) -> None:
    with told(machine, "link"):
        machine.host.ip(f"link del {box.endpoints[0].link}")
    assert wait_for(lambda: works(machine, box), PROMISED)
    with machine.peer.server(81):
        assert box.place.reaches(PEER, 81), "the default route is not there"


def test_a_bridge_that_was_set_down_is_up_again(machine: Machine, box: Box) -> None:
    """Its routes, which went with that, are there again."""
    with told(machine, "bridge"):
        machine.host.ip(f"link set {machine.client.inspect_network('bridge').bridge} down")
    assert wait_for(lambda: works(machine, box), PROMISED)


def test_a_bridges_route_is_repaired(machine: Machine, box: Box) -> None:
    network = machine.client.inspect_network("bridge")
    route = f"{network.subnets[0].subnet} dev {network.bridge}"
    before = machine.host.ip(f"route show {route}")
    with told(machine, "bridge"):
        machine.host.ip(f"route del {route}")
    assert wait_for(lambda: works(machine, box), PROMISED)
    assert machine.host.ip(f"route show {route}") == before


def test_a_bridge_with_ipv6_is_repaired(machine: Machine) -> None:
    network = machine.client.create_network("six", ipv6=True)
    with machine.run(network="six") as box, box.place.server(80):
        ip6 = str(box.endpoints[0].ip6)
        route = f"{network.subnets[1].subnet} dev {network.bridge}"
        before = machine.host.ip(f"-6 route show {route}")
        for damage in (
            f"link set {network.bridge} down",
            f"-6 route del {route}",
            f"-6 addr flush dev {network.bridge}",
        ):
            with told(machine, "bridge"):
                machine.host.ip(damage)
            assert wait_for(lambda: machine.host.reaches(ip6, 80, patience=DROPPED), PROMISED), damage
        assert machine.host.ip(f"-6 route show {route}") == before
        machine.client.remove(box.id, force=True)
    machine.client.remove_network("six")


@pytest.mark.parametrize("damage", ["nomaster", "down"])
def test_a_link_taken_off_its_bridge_or_set_down_is_put_back(machine: Machine, box: Box, damage: str) -> None:
    with told(machine, "link"):
        machine.host.ip(f"link set {box.endpoints[0].link} {damage}")
    assert wait_for(lambda: works(machine, box), PROMISED)
    assert box.place.reaches(HOST, 8080), "its bridge sends nothing back to it any more"


@pytest.mark.parametrize("damage", ["link del LINK", "link set LINK nomaster"])
def test_a_link_that_waits_for_a_container_is_replaced(machine: Machine, box: Box, damage: str) -> None:
    """Who comes next gets one that works."""
    bridge = machine.client.inspect_network("bridge").bridge

    def waiting() -> set[str]:
        on_it = machine.host.ip(f"-o link show master {bridge}")
        return set(re.findall(r"wv[^@]+", on_it)) - {endpoint.link for endpoint in box.endpoints}

    assert wait_for(lambda: len(waiting()) == READY), "nothing waits for containers"
    before = waiting()
    for name in before:
        # The first damage already has all of them given up: on a slow machine the others are gone by now.
        machine.host.ip(damage.replace("LINK", name), check=False)
    assert wait_for(lambda: len(waiting()) == READY and not waiting() & before, PROMISED)
    with machine.run() as other:
        assert other.place.reaches(box.ip, 80)


def test_forwarding_is_repaired(machine: Machine, box: Box) -> None:
    with told(machine, "forwarding"):
        machine.host.set("net/ipv4/ip_forward", "0")
    assert wait_for(lambda: works(machine, box), PROMISED)


def test_containers_that_end_are_no_repair(machine: Machine) -> None:
    start = time.time()
    for _ in range(5):
        machine.client.run(machine.spec(command=("true",), auto_remove=True)).check()
    with told(machine, "rules"):
        machine.host.nft("flush ruleset")
    assert repairs(machine, start) == ["rules"], "the end of a container is taken for somebody's doing"


def test_a_restarted_supervisor_finds_everything_right(machine: Machine, box: Box) -> None:
    """Rules that are gone come again, those that are too many go, running containers keep what they had."""
    machine.client.close()
    machine.daemon.kill()
    assert machine.peer.reaches(HOST, 8080), "a published port needs the supervisor"
    machine.host.nft("flush ruleset")
    machine.host.call(machine.daemon.start)
    assert wait_for(lambda: works(machine, box), PROMISED)
    assert machine.published() == {("tcp", 8080)}
    machine.client.remove(box.id, force=True)
    assert wait_for(lambda: not machine.published(), PROMISED)


def test_what_ended_while_no_supervisor_watched_is_gone_after(machine: Machine) -> None:
    with machine.run(ports=(published(8080, 80),)) as box:
        pid = box.details().pid
        machine.client.close()
        machine.daemon.kill()
        os.kill(pid, signal.SIGKILL)
        machine.host.call(machine.daemon.start)
    assert wait_for(lambda: not machine.published(), PROMISED)
    with machine.run(ports=(published(8080, 80),)):
        pass


IN_A_PID_NAMESPACE = """
wherryd --detach && wherry run --rm host true && sleep 0.7
echo before: $(wherry events --since 1h --until 0s --filter event=repair | wc -l)
nft delete table "$(nft list tables inet | head -n 1 | cut -d" " -f 2-)" && sleep 0.7
wherry events --since 1h --until 0s --filter event=repair --format '{{.Actor.Attributes.what}}'
kill $(wherry info --format '{{.Pid}}')
while [ -e "$WHERRY_RUN_DIR/control.sock" ]; do sleep 0.1; done
"""


def test_in_a_pid_namespace_what_we_do_is_no_repair(host: Place) -> None:
    """As in another engine's container: of a transaction the kernel tells a process id of the machine's."""
    with tempfile.TemporaryDirectory(prefix="wherry-", dir="/var/tmp") as folder:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "WHERRY_STATE_DIR": f"{folder}/state",
            "WHERRY_RUN_DIR": f"{folder}/run",
        }
        command = [
            "unshare",
            "--mount-proc",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            IN_A_PID_NAMESPACE,
        ]
        done = host.call(
            lambda: subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        )
        assert (done.stdout.split("\n", 1), done.stderr) == (["before: 0", "rules\n"], "")


def _table(machine: Machine) -> str:
    found = (line.split()[2] for line in machine.tables().splitlines() if line.startswith("table inet w"))
    return next(found)


def _sorted(text: str) -> list[str]:
    """Sets are in no order, and spare namespaces change."""
    return sorted(line.strip() for line in text.splitlines() if "wv" not in line and "02:" not in line)
