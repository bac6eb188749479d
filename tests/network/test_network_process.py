"""The network process stopped and killed at any moment: only who needs it waits, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, PEER, Machine, network_process, published
from support import proc
from support.daemon import Daemon
from support.forms import rounds, within
from support.netns import DROPPED, Place
from support.waiting import wait_for

from wherry import RunSpec
from wherry_protocol.networks import Endpoint
from wherryd.network import helper
from wherryd.network.pool import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AT_ONCE = within(1.0)
"""Seconds in which everything is answered that needs no network process."""

ROUNDS = rounds(short=3, long=150)


@pytest.fixture(scope="module")
def machine(busybox: Path) -> Iterator[Machine]:
    """One with a network that has few addresses, so that the first one that is lost is missed."""
    made = Machine(busybox)
    try:
        made.client.create_network("tiny", subnets=("10.78.0.0/29",))
        yield made
    finally:
        made.close()


def took(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def links(machine: Machine) -> set[str]:
    return set(machine.host.call(machine.daemon.links))


def expect_nothing_lost(machine: Machine) -> None:
    """Every address of the network can be had; after that there are bridges, and what is kept ready."""
    machine.daemon.remove_containers()
    ids = [machine.client.run_detached(machine.spec(network="tiny")).id for _ in range(5)]
    assert len({machine.client.inspect(each).endpoints[0].ip for each in ids}) == 5
    machine.daemon.remove_containers()
    bridges = {each.bridge for each in machine.client.networks() if each.bridge}

    def clean() -> bool:
        there = links(machine)
        return bridges <= there and len(there - bridges) <= READY

    assert wait_for(clean), f"there are {links(machine)}, the bridges {bridges} among them"


def test_one_that_hangs_is_replaced_while_everything_else_is_answered(machine: Machine) -> None:
    """Who needs it waits for its successor and goes on; other requests, and packets, do not wait at all."""
    client = machine.client
    with machine.run(name="web", ports=(published(8080, 80),)) as box, box.place.server(80):
        hung = network_process(machine)
        os.kill(hung, signal.SIGSTOP)
        start = time.monotonic()
        needy = machine.spec(network="tiny", command=("true",), auto_remove=True)
        alone = machine.spec(network="none", command=("true",), auto_remove=True)
        answered: list[Callable[[], object]] = [
            client.info,
            client.networks,
            lambda: client.inspect("web"),
            lambda: client.inspect_network("bridge"),
            lambda: client.exec("web", ["true"]),
            lambda: client.run(alone).check(),
            lambda: machine.peer.ask(HOST, 8080),
        ]
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(client.run, needy), pool.submit(client.create_network, "more")]
            while not all(each.done() for each in waiting):
                assert max(map(took, answered)) < AT_ONCE
                assert time.monotonic() - start < within(3 * helper.HANG), "the hang is not noticed"
        for each in waiting:
            each.result()
        assert network_process(machine) != hung
        assert "network process hangs, ending it" in machine.daemon.log
        client.remove_network("more")
    expect_nothing_lost(machine)


def test_what_was_asked_of_one_that_is_killed_its_successor_does(machine: Machine) -> None:
    """Nobody is told of its end."""
    client = machine.client
    with ThreadPoolExecutor(1) as pool, machine.run(name="web") as box:
        ways: list[Callable[[], object]] = [
            lambda: client.run(machine.spec(network="tiny", command=("true",), auto_remove=True)).check(),
            lambda: client.connect_network("tiny", "web"),
            lambda: client.disconnect_network("tiny", "web"),
            lambda: client.create_network("more"),
            lambda: client.remove_network("more"),
        ]
        for way in ways:
            pid = network_process(machine)
            os.kill(pid, signal.SIGSTOP)
            asked = pool.submit(way)
            assert not wait_for(asked.done, 0.1), "it needs no network process"
            os.kill(pid, signal.SIGKILL)
            asked.result()
        assert "eth1" not in box.place.ip("-o link show")
    expect_nothing_lost(machine)


@pytest.mark.timeout(600)
def test_one_that_is_killed_at_any_moment_leaves_nothing(machine: Machine) -> None:
    """Starts, joins and networks go through, in whichever of their steps it is killed."""
    client = machine.client
    client.run_detached(machine.spec(name="web"))

    def change(number: int) -> None:
        name = f"lan{number}"
        client.create_network(name)
        client.connect_network(name, "web")
        for network in ("tiny", name):
            client.run(machine.spec(network=network, command=("true",), auto_remove=True)).check()
        client.disconnect_network(name, "web")
        client.remove_network(name)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(ROUNDS):
            changes = [pool.submit(change, number) for number in range(3)]
            time.sleep(random.uniform(0, 0.1))
            os.kill(network_process(machine), signal.SIGKILL)
            for each in changes:
                each.result()
    expect_nothing_lost(machine)
    assert {each.name for each in client.networks() if each.bridge} == {"bridge", "tiny"}
    assert "by somebody" not in machine.daemon.log, (
        "what one did that was killed is taken for another's doing"
    )
    assert "traceback" not in machine.daemon.log


def test_ports_and_networks_go_on_when_the_supervisor_is_killed_too(machine: Machine) -> None:
    """Of wherry there is the launcher only then; the next supervisor puts right what changed meanwhile.

    The network process goes by itself, also if it is stopped.
    """
    with machine.run(name="web", network="tiny", ports=(published(8080, 80),)) as box, box.place.server(80):
        machine.client.close()
        process = proc.process(network_process(machine))
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        machine.daemon.kill()
        assert wait_for(lambda: not proc.alive(process)), "a process that was stopped stays for ever"
        with machine.peer.server(81):
            assert machine.peer.ask(HOST, 8080) == PEER
            assert box.place.ask(PEER, 81) == HOST
        stray = box.endpoints[0].link[:7] + "deadbeef"
        machine.host.ip(f"link add {stray} type veth peer name elsewhere")
        machine.host.nft("flush ruleset")
        machine.host.call(machine.daemon.start)
        assert wait_for(lambda: machine.peer.reaches(HOST, 8080, patience=DROPPED)), (
            "the rules are not put right"
        )
        assert wait_for(lambda: stray not in links(machine)), "a link that is nobody's stays"
        assert machine.client.inspect("web").endpoints == box.endpoints
    expect_nothing_lost(machine)


def test_a_supervisor_that_ends_after_its_network_process_was_killed_takes_its_rules_along(
    busybox: Path,
) -> None:
    """Also where its bridge is gone, or not there yet, when the rules are."""
    for _ in range(ROUNDS):
        with Place.new() as host:
            daemon = Daemon()
            daemon.default_network = "bridge"
            try:
                host.call(daemon.start)
                with daemon.client() as client:
                    spec = RunSpec(image=os.fspath(busybox), command=("sleep", "100"), network="bridge")
                    client.remove(client.run_detached(spec).id, force=True)
                (pid,) = [
                    each.pid
                    for each in proc.everyone()
                    if each.name == "wherryd: networ" and each.parent == daemon.pid
                ]
                os.kill(pid, signal.SIGKILL)
                daemon.terminate()
                assert host.nft("list ruleset") == "", "rules of nobody are left"
                assert set(host.call(daemon.links)) <= {"lo"}
            finally:
                daemon.close()


def test_every_operation_on_links_may_be_done_twice() -> None:
    """As when a process is killed after it did one, and before it said so."""
    from wherryd.network.process import links as ops

    bridge, mac = "wntwice", "02:00:00:00:00:01"
    endpoint = Endpoint(
        id="0" * 64, network_id="1" * 64, network="lan", interface="eth0", link="wvtwice",
        mac_address="02:00:00:00:00:02", ip="10.78.1.2", prefix=24, gateway="10.78.1.1", primary=True,
    )  # fmt: skip
    first = {**endpoint.to_wire(), "bridge": bridge, "mtu": 1500}
    second = {**first, "interface": "eth1", "link": "wvtwice1"}
    namespaces: list[int] = []
    try:
        made = [ops.make_bridge(bridge, mac, [("10.78.1.1", 24)], 1500, fds=[]) for _ in range(2)]
        assert made[0] == made[1]
        for _ in range(2):
            namespaces += ops.make_namespace([first], fds=[]).fds
        for _ in range(2):
            ops.join(second, fds=namespaces[1:])
            ops.set_primary(first, fds=namespaces[1:])
            assert ops.enslave(bridge, [first["link"], second["link"]], fds=[]) == []
    finally:
        for each in namespaces:
            os.close(each)
        for _ in range(2):
            ops.remove_links([first["link"], second["link"], bridge], fds=[])
