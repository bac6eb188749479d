"""A container that goes by the host's addresses to what is published there: its own ports, and others'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from networkkit import HOST, HOST6, published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networkkit import Machine


@pytest.fixture(scope="module", autouse=True)
def networks(machine: Machine) -> None:
    machine.client.create_network("open", ipv6=True)
    machine.client.create_network("apart", ipv6=True, icc=False)


@pytest.fixture(params=["1", "0"], ids=["bridge-nf-call", "no-bridge-nf-call"])
def bridge_nf_call(request: pytest.FixtureRequest, machine: Machine) -> Iterator[None]:
    """Whether bridges of the machine hand packets to the firewall: they do by default, if they can."""
    there = Path("/proc/sys/net/bridge").is_dir()
    if not there and request.param == "1":
        pytest.skip("/proc/sys/net/bridge is missing: br_netfilter is not loaded")
    value = request.param if there else None
    set_bridge_nf_call(machine, value)
    yield
    set_bridge_nf_call(machine, value and "1")


def set_bridge_nf_call(machine: Machine, value: str | None) -> None:
    if value is not None:
        for name in ("iptables", "ip6tables"):
            machine.host.set(f"net/bridge/bridge-nf-call-{name}", value)


@pytest.mark.usefixtures("bridge_nf_call")
@pytest.mark.parametrize("network", ["bridge", "open", "apart"])
def test_a_published_port_is_reached_by_its_own_container_and_its_neighbours(
    machine: Machine, network: str
) -> None:
    """Also where the destination is changed while the packet is on the bridge, and is to go back."""
    ports = tuple(published(8080, 80, protocol=protocol) for protocol in ("tcp", "udp"))
    with machine.run(network=network, ports=ports) as box, machine.run(network=network) as other:
        addresses = [HOST, box.gateway] if network == "bridge" else [HOST, box.gateway, HOST6]
        for udp in (False, True):
            with box.place.server(80, udp=udp):
                for who, place in (("itself", box.place), ("its neighbour", other.place)):
                    for address in addresses:
                        assert place.reaches(address, 8080, udp=udp), f"{who} does not reach {address}"
        for place in (box.place, other.place):
            assert "dadfailed" not in place.ip("-6 addr show"), "its own packets look like another's"
