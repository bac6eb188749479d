"""A machine for tests: a network namespace with an uplink, a supervisor in it, a neighbour on the wire."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support import proc
from support.daemon import Daemon
from support.netns import Place
from support.waiting import wait_for

from wherry import RunSpec
from wherry_protocol.ports import PublishedPort

if TYPE_CHECKING:
    from wherry import Client
    from wherry_protocol.container_state import ContainerDetails

HOST, PEER = "192.0.2.2", "192.0.2.9"
HOST6, PEER6 = "2001:db8::2", "2001:db8::9"


class Machine:
    """`host` is where the supervisor (`daemon`) is, `peer` another machine on its wire."""

    def __init__(self, image: Path) -> None:
        self.image = os.fspath(image)
        self._undo = ExitStack()
        self.host = self._undo.enter_context(Place.new())
        self.peer = self._undo.enter_context(Place.new())
        self.host.wire(self.peer, "eth0", "eth0")
        for place, ip, ip6 in ((self.host, HOST, HOST6), (self.peer, PEER, PEER6)):
            place.ip(f"addr add {ip}/24 dev eth0")
            place.ip(f"addr add {ip6}/64 dev eth0 nodad")
        self.daemon = Daemon()
        self.daemon.default_network = "bridge"
        self.host.call(self.daemon.start)
        self.client: Client = self.daemon.client()

    def close(self) -> None:
        with self._undo:
            self.client.close()
            self.daemon.close()

    def restart(self) -> None:
        """Kill the supervisor with SIGKILL and start another."""
        self.client.close()
        self.daemon.kill()
        self.host.call(self.daemon.start)

    def spec(self, **fields: Any) -> RunSpec:
        return RunSpec(
            **{"image": self.image, "command": ("sleep", "1000"), "stop_timeout": 0.0, **fields},
        )

    def run(self, **fields: Any) -> Box:
        """Start a container that sleeps; to be used as a context manager, which leaves it running."""
        return Box(self, self.client.run_detached(self.spec(**fields)).id)

    def tables(self) -> str:
        """Return all rules."""
        return self.host.nft("list ruleset")

    def published(self) -> set[tuple[str, int]]:
        """Return the ports that the rules pass on, of IPv4."""
        found = re.findall(r"(tcp|udp) \. (\d+) : \d", self.tables())
        return {(protocol, int(port)) for protocol, port in found}


class Box:
    """A running container, seen from inside its network namespace (`place`)."""

    def __init__(self, machine: Machine, container_id: str) -> None:
        self.machine = machine
        self.id = container_id
        details = self.details()
        assert details.pid is not None
        self.place = Place.of(details.pid)
        self.endpoints = details.endpoints
        self.ip = details.endpoints[0].ip if details.endpoints else ""
        self.gateway = (details.endpoints[0].gateway if details.endpoints else "") or ""

    def resolv_conf(self) -> str:
        return Path(self.details().directory, "resolv.conf").read_text()

    def details(self) -> ContainerDetails:
        return self.machine.client.inspect(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.place.close()


def network_process(machine: Machine) -> int:
    """The process id of the supervisor's network process; waits for it."""
    parent, found = machine.daemon.pid, list[int]()

    def look() -> bool:
        named = (each for each in proc.everyone() if each.name == "wherryd: networ")
        found[:] = [each.pid for each in named if each.parent == parent]
        return bool(found)

    assert wait_for(look), "there is no network process"
    return found[0]


def published(host_port: int | None, container_port: int, **fields: Any) -> PublishedPort:
    return PublishedPort(host_port=host_port, container_port=container_port, **fields)
