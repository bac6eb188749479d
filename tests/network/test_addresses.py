"""Addresses of networks: none twice, none that is the network's own, none back at once."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import BadRequest, Conflict
from wherryd.network import addresses
from wherryd.network.addresses import Range


def new_range(text: str, gateway: str | None = None) -> Range:
    return Range(ipaddress.ip_network(text), gateway and ipaddress.ip_address(gateway))  # type: ignore[arg-type]


@pytest.mark.parametrize(("subnet", "room"), [("10.0.0.0/29", 5), ("10.0.0.0/30", 1), ("fd00::/125", 6)])
def test_a_subnet_gives_each_address_once_and_then_says_that_it_is_full(subnet: str, room: int) -> None:
    """Never the network's own, the gateway's or (IPv4) the broadcast address."""
    pool = new_range(subnet)
    given_out = {str(pool.take("lan")) for _ in range(room)}
    network = ipaddress.ip_network(subnet)
    assert len(given_out) == room
    assert not given_out & {str(network[0]), str(network[1])}
    assert network.version == 6 or str(network[-1]) not in given_out
    with pytest.raises(Conflict, match=f"network lan is full: {subnet}"):
        pool.take("lan")


def test_an_address_that_was_given_back_is_used_again_last() -> None:
    """A neighbour may still know it under the MAC address of who had it."""
    pool = new_range("10.0.0.0/29")
    first = pool.take("lan")
    pool.give_back(first)
    assert [str(pool.take("lan")) for _ in range(5)][-1] == str(first)


def test_a_gateway_in_the_middle_is_kept_out() -> None:
    pool = new_range("10.0.0.0/29", "10.0.0.4")
    assert "10.0.0.4" not in {str(pool.take("lan")) for _ in range(5)}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_whatever_comes_and_goes_nobody_shares_an_address(steps: list[tuple[bool, int]]) -> None:
    pool = new_range("10.0.0.0/28")
    held: list[addresses.Address] = []
    for takes, which in steps:
        if takes and not pool.full:
            address = pool.take("lan")
            assert address not in held
            held.append(address)
        elif held and not takes:
            pool.give_back(held.pop(which % len(held)))
    assert pool.full is (len(held) == 13)
    assert pool.unused is (not held)


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ("10.0.1.3", BadRequest, "is not in network lan"),
        ("10.0.0.0", BadRequest, "stands for the whole"),
        ("10.0.0.255", BadRequest, "stands for the whole"),
        ("10.0.0.1", Conflict, "is the gateway's"),
        ("10.0.0.9", Conflict, "is in use"),
    ],
)
def test_an_address_that_cannot_be_is_refused_and_stays_as_it_was(
    wanted: str, error: type[Exception], text: str
) -> None:
    pool = new_range("10.0.0.0/24")
    pool.take_this(ipaddress.ip_address("10.0.0.9"), "lan")
    with pytest.raises(error, match=text):
        pool.take_this(ipaddress.ip_address(wanted), "lan")
    assert str(pool.take("lan")) == "10.0.0.2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.5/24", "10.0.0.0/24 is meant"),
        ("10.0.0.0", "has no prefix length"),
        ("10.0.0.0/31", "prefix length of 8 to 30"),
        ("0.0.0.0/0", "prefix length of 8 to 30"),
        ("127.0.0.0/24", "special use"),
        ("224.0.0.0/24", "special use"),
        ("fe80::/64", "special use"),
        ("10.0.0/24", "is malformed"),
        ("10.0.0.0/x", "is malformed"),
        ("", "is malformed"),
        ("fd77::%x } ; #/64", "is one with a link"),
    ],
)
def test_what_is_no_subnet_is_named(text: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        addresses.parse_subnet(text)


def test_a_chosen_subnet_clashes_with_nothing_in_use() -> None:
    taken = [*map(ipaddress.ip_network, ("172.16.0.0/12", "10.176.0.0/16", "10.208.0.0/24"))]
    for chosen in (addresses.free_default(taken, 0), addresses.free_user(taken)):
        assert addresses.overlap(chosen, taken) is None
    with pytest.raises(Conflict, match="no subnet is free"):
        addresses.free_user([ipaddress.ip_network("0.0.0.0/0")])
