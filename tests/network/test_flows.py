"""UDP flows that the kernel remembers, in a network namespace of the test's own."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support.netns import Place

from wherryd.network.process import flows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETLINK_NETFILTER = 12


@pytest.fixture
def place() -> Iterator[Place]:
    """One whose flows are kept track of, with two to UDP port 5000 and one to 5001."""
    with Place.new() as made:
        made.nft("add table inet t")
        made.nft("add chain inet t out { type filter hook output priority 0; }")
        made.nft("add rule inet t out ct state new accept")
        made.call(_send)
        yield made


def _send() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        for number in (5000, 5001):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (host, number))


def count(place: Place, number: int) -> tuple[int, int]:
    """How many flows to a port there are, of either family."""

    def look() -> tuple[int, int]:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
            return (
                len(flows.find(sock, socket.AF_INET, number)),
                len(flows.find(sock, socket.AF_INET6, number)),
            )

    return place.call(look)


def one_by_one() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        for family in (socket.AF_INET, socket.AF_INET6):
            flows.forget_each(sock, family, 5000)


@pytest.mark.parametrize("forget", [lambda: flows.forget_flows([5000]), one_by_one])
def test_flows_to_one_port_are_forgotten_whatever_the_kernel(
    place: Place, forget: Callable[[], None]
) -> None:
    """By a filter where it heeds one (Linux 6.8), else one by one; others stay."""
    assert (count(place, 5000), count(place, 5001)) == ((1, 1), (1, 1))
    place.call(forget)
    assert (count(place, 5000), count(place, 5001)) == ((0, 0), (1, 1))
