"""Addresses of networks: which are free, which one is next, which subnet clashes with nothing. Pure.

The lowest free one after the last given, round and round: an address that was just given back, and that
neighbours may still know under another MAC address, is used again last.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SMALLEST = {4: 29, 6: 125}
"""The longest prefix of a network: the gateway and five more."""

_SHORTEST = {4: 8, 6: 32}
_DEFAULTS = tuple(
    f"172.{second}.0.0/16" for second in (29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18)
) + tuple(f"10.{second}.0.0/16" for second in range(176, 208))
_POOLS = ("172.30.0.0/15", "10.208.0.0/12")
_USER_PREFIX = 24


class Range:
    """The addresses of a network: a subnet, the bridge's address in it, and who has the rest."""

    def __init__(self, network: Network, gateway: Address | None = None) -> None:
        self.network = network
        self.gateway = gateway or network[1]
        self._taken: set[int] = {self._offset(self.gateway)}
        self._last = 0
        # An IPv6 subnet's first address is the routers' (RFC 4291, 2.6.1), and it has no broadcast.
        self._end = network.num_addresses - (1 if network.version == 4 else 0)  # noqa: PLR2004

    @property
    def prefix(self) -> int:
        """The prefix length."""
        return self.network.prefixlen

    @property
    def unused(self) -> bool:
        """Whether nobody but the bridge has an address."""
        return len(self._taken) == 1

    @property
    def free(self) -> int:
        """How many addresses nobody has."""
        return self._end - 1 - len(self._taken)

    @property
    def full(self) -> bool:
        """Whether every address is taken."""
        return self.free <= 0

    def take(self, name: str) -> Address:
        """Return a free address, which is taken from then on. Raises Conflict; `name` is the network's."""
        for offset in self._after_last():
            if offset not in self._taken:
                self._taken.add(offset)
                self._last = offset
                return self.network[offset]
        raise Conflict(
            f"network {name} is full: {self.network} has no address left",
            hint="remove a container, or make a network with a larger subnet",
        )

    def take_this(self, address: Address, name: str) -> Address:
        """Take a certain address. Raises BadRequest when it is none of the range's, Conflict when taken."""
        self.check(address, f"network {name} ({self.network})")
        offset = self._offset(address)
        if offset in self._taken:
            whose = "the gateway's" if address == self.gateway else "in use"
            raise Conflict(f"address {address} of network {name} is {whose}")
        self._taken.add(offset)
        return address

    def check(self, address: Address, whose: str) -> None:
        """Raises BadRequest when it is no address that a host can have here; `whose` says where."""
        if address not in self.network:
            raise BadRequest(f"address {address} is not in {whose}")
        if not 0 < self._offset(address) < self._end:
            raise BadRequest(f"address {address} stands for the whole of {whose}: nobody can have it")

    def is_taken(self, address: Address) -> bool:
        """Say whether somebody has an address."""
        return address in self.network and self._offset(address) in self._taken

    def give_back(self, address: Address) -> None:
        """Have an address free again."""
        self._taken.discard(self._offset(address))

    def _after_last(self) -> Iterator[int]:
        if not self.full:
            yield from range(self._last + 1, self._end)
            yield from range(1, self._last + 1)

    def _offset(self, address: Address) -> int:
        return int(address) - int(self.network.network_address)


def parse_subnet(text: str) -> Network:
    """Return a subnet given in CIDR form. Raises BadRequest naming it."""
    try:
        network = ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise BadRequest(_why_no_subnet(text)) from None
    if "%" in text:
        raise BadRequest(f"subnet {text[:60]!r} is one with a link", hint="leave out %LINK")
    if "/" not in text:
        raise BadRequest(f"subnet {text} has no prefix length", hint=f"for example {text}/24")
    longest = network.max_prefixlen - 2
    if not _SHORTEST[network.version] <= network.prefixlen <= longest:
        raise BadRequest(
            f"subnet {text}: a prefix length of {_SHORTEST[network.version]} to {longest} is possible"
        )
    if network.is_multicast or network.is_loopback or network.is_link_local or network.is_unspecified:
        raise BadRequest(f"subnet {text} is one of special use: containers cannot have its addresses")
    return network


def _why_no_subnet(text: str) -> str:
    try:
        inside = ipaddress.ip_interface(text).network
    except ValueError:
        return f"subnet {text[:60]!r} is malformed: address and prefix length are wanted, as 10.20.0.0/24"
    return f"subnet {text} has bits set behind its prefix: {inside} is meant, perhaps"


def parse_address(text: str, what: str, version: int | None = None) -> Address:
    """Return an address. Raises BadRequest naming it; `what` it is for."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadRequest(f"{what} {text[:60]!r} is no IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        # What stands there is any text, and addresses stand in the rules as they are written.
        raise BadRequest(f"{what} {text[:60]!r} is an address with a link", hint="leave out %LINK")
    if version is not None and address.version != version:
        raise BadRequest(f"{what} {text} is no address of IPv{version}")
    return address


def overlap(network: Network, others: Iterable[Network]) -> Network | None:
    """Return one of `others` that shares addresses with a network."""
    return next(
        (other for other in others if other.version == network.version and network.overlaps(other)), None
    )


def free_default(taken: Iterable[Network], start: int) -> Network:
    """Return a /16 that clashes with nothing; `start` says where to begin looking. Raises Conflict."""
    candidates = [*map(ipaddress.ip_network, _DEFAULTS)]
    first = start % len(candidates)
    return _first_free([*candidates[first:], *candidates[:first]], list(taken))


def free_user(taken: Iterable[Network]) -> Network:
    """Return a /24 that clashes with nothing. Raises Conflict."""
    candidates = (
        subnet for pool in _POOLS for subnet in ipaddress.ip_network(pool).subnets(new_prefix=_USER_PREFIX)
    )
    return _first_free(candidates, list(taken))


def free_ipv6(random_bits: bytes) -> Network:
    """Return a unique local /64 (RFC 4193) of seven random bytes."""
    return ipaddress.ip_network((b"\xfd" + random_bits + bytes(8), 64))


def _first_free(candidates: Iterable[Network], taken: list[Network]) -> Network:
    for candidate in candidates:
        if overlap(candidate, taken) is None:
            return candidate
    raise Conflict("no subnet is free", hint="say which one to use with --subnet")
