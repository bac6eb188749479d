"""Networks while everything happens at once: whatever wins, nothing is left and nothing is given twice."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from support.forms import rounds
from support.waiting import wait_for

from wherry.errors import Conflict, KernelFailure, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from networkkit import Machine

ROUNDS = rounds(short=12, long=200)
"""Of eight changes at once."""

LEGAL = (Conflict, NotFound, KernelFailure)
"""What a change may be told that comes too late; KernelFailure: its container ended in the middle of it."""


def test_connect_against_stop_against_start_leaves_nothing(machine: Machine) -> None:
    """Addresses stay in step with the containers' records; no defect is told; the network can be removed."""
    client = machine.client
    client.create_network("lan", subnets=("10.77.0.0/28",))
    for name in ("one", "two"):
        client.create(machine.spec(name=name, command=("sleep", "0.05")))
    changes: list[Callable[[str], object]] = [
        lambda name: client.connect_network("lan", name),
        lambda name: client.disconnect_network("lan", name),
        client.start,
        client.stop,
        client.restart,
        lambda _name: client.run(machine.spec(network="lan", command=("true",), auto_remove=True)),
    ]

    def change(_: int) -> None:
        with suppress(*LEGAL):
            random.choice(changes)(random.choice(("one", "two")))

    with ThreadPoolExecutor(8) as pool:
        for _ in range(ROUNDS):
            list(pool.map(change, range(8)))
            members = client.inspect_network("lan").members
            addresses = [member.endpoint.ip for member in members]
            assert len(addresses) == len(set(addresses)), "an address was given twice"
    machine.daemon.remove_containers()
    client.remove_network("lan")
    assert "traceback" not in machine.daemon.log
    bridge = client.inspect_network("bridge").bridge
    left = machine.host.call(machine.daemon.links)
    assert wait_for(lambda: len(machine.host.call(machine.daemon.links)) <= 4), f"{left} beside {bridge}"


def test_one_name_and_one_subnet_for_one_of_many(machine: Machine) -> None:
    """Of twenty that make a network of one name, or of one subnet, one wins."""

    def make(number: int) -> str | None:
        name = "same" if number % 2 else f"other{number}"
        try:
            return machine.client.create_network(name, subnets=("10.88.0.0/24",)).name
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [name for name in pool.map(make, range(20)) if name is not None]
    assert len(made) == 1
    machine.client.remove_network(made[0])


def test_removing_a_network_against_starts_on_it(machine: Machine) -> None:
    """Either the network goes, and the starts are refused, or it stays because they won."""
    for _ in range(ROUNDS):
        machine.client.create_network("lan", subnets=("10.77.0.0/24",))

        def act(number: int) -> bool:
            try:
                if number == 3:
                    machine.client.remove_network("lan")
                else:
                    machine.client.run(
                        machine.spec(network="lan", command=("true",), auto_remove=True)
                    ).check()
            except (Conflict, NotFound):
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(act, range(6)))
        if not won[3]:
            machine.client.remove_network("lan")
    assert "traceback" not in machine.daemon.log
