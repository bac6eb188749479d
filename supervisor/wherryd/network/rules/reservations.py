"""The host's ports that containers publish: each is kept by a socket of the supervisor's, and ours alone.

Owns these sockets. What comes in for a port is given another destination by the kernel's rules (ruleset.py)
and reaches its socket only where they cannot (relay/); but nobody else can have the port meanwhile, and
"in use" is what the kernel says. Sync; a bind never blocks.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, KernelFailure
from wherry_protocol.ports import PortBinding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry_protocol.ports import PublishedPort

_BACKLOG = 1024
TRIES = 64
"""For a free port: the kernel chooses one for IPv4, which must be free for IPv6 as well."""

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class PortTaken(Conflict):
    """A port is in use. `holder` is the container of ours that has it, if it is one."""

    def __init__(self, binding: PortBinding, holder: str | None) -> None:
        self.binding = binding
        where = port_text(binding)
        by = f" by container {holder}" if holder is not None else ""
        super().__init__(f"port {where} is in use{by}", hint="publish another one, or stop what has it")
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A port that is ours, and the socket that keeps it."""

    binding: PortBinding
    socket: socket.socket


class Reservations:
    """Who has which port, of the containers of one supervisor."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Kept, ...]] = {}
        self._holders: dict[str, str] = {}

    def take(self, container_id: str, name: str, wanted: Iterable[PublishedPort]) -> tuple[PortBinding, ...]:
        """Keep ports for a container; return which. Raises PortTaken, BadRequest; then none is kept."""
        with ExitStack() as undo:
            kept: list[Kept] = []
            for port in wanted:
                for each in self._one(port):
                    undo.callback(_let_go, each.socket)
                    kept.append(each)
            undo.pop_all()
        self._kept[container_id] = tuple(kept)
        self._holders[container_id] = name
        return tuple(each.binding for each in kept)

    def take_back(
        self, container_id: str, name: str, bindings: Iterable[PortBinding]
    ) -> tuple[PortBinding, ...]:
        """Keep the ports that a running container has already; return those that somebody took meanwhile."""
        kept: list[Kept] = []
        lost: list[PortBinding] = []
        for binding in bindings:
            try:
                kept.append(self._keep(binding))
            except (Conflict, BadRequest, KernelFailure):
                lost.append(binding)
        self._kept[container_id] = tuple(kept)
        self._holders[container_id] = name
        return tuple(lost)

    def of(self, container_id: str) -> tuple[Kept, ...]:
        """Return what a container has."""
        return self._kept.get(container_id, ())

    def give_back(self, container_id: str) -> None:
        """Let a container's ports be anybody's."""
        self._holders.pop(container_id, None)
        for each in self._kept.pop(container_id, ()):
            _let_go(each.socket)

    def _one(self, port: PublishedPort) -> tuple[Kept, ...]:
        candidates = _candidates(port)
        for number in candidates[:-1]:
            try:
                return self._both(port, number)
            except PortTaken:
                continue
        return self._both(port, candidates[-1])

    def _both(self, port: PublishedPort, number: int) -> tuple[Kept, ...]:
        """Keep a port (0: a free one) on every address that is asked for."""
        with ExitStack() as undo:
            kept: list[Kept] = []
            for host_ip in _addresses(port.host_ip):
                each = self._keep(
                    PortBinding(
                        container_port=port.container_port, protocol=port.protocol, host_ip=host_ip,
                        host_port=number,
                    )
                )  # fmt: skip
                undo.callback(_let_go, each.socket)
                kept.append(each)
                number = each.binding.host_port or number
            undo.pop_all()
        return tuple(kept)

    def _keep(self, binding: PortBinding) -> Kept:
        host_ip, number = binding.host_ip or "0.0.0.0", binding.host_port or 0  # noqa: S104 - as it is asked for
        sock = _socket(ip_address(host_ip).version, binding.protocol)
        try:
            sock.bind((host_ip, number))
            if sock.family == socket.AF_INET6 and binding.protocol == "tcp":
                sock.listen(_BACKLOG)  # for the relay; nobody else can, then
            else:
                # Only now: a connection that this host had on the port lately is no reason to refuse it, but
                # whoever wants to listen there shall be refused.
                sock.setsockopt(socket.SOL_SOCKET, _sharing(sock), 0)
        except OSError as error:
            sock.close()
            raise self._error(error, binding) from error
        return Kept(binding=binding.replace(host_port=sock.getsockname()[1]), socket=sock)

    def _error(self, error: OSError, binding: PortBinding) -> Exception:
        if error.errno == errno.EADDRINUSE:
            return PortTaken(binding, self._holder(binding))
        if error.errno == errno.EADDRNOTAVAIL:
            return BadRequest(
                f"port {port_text(binding)}: {binding.host_ip} is not an address of this host",
                hint="see 'ip address'",
            )
        return KernelFailure(f"port {port_text(binding)}: {error.strerror}", errno=error.errno)

    def _holder(self, wanted: PortBinding) -> str | None:
        for container_id, kept in self._kept.items():
            for each in kept:
                if (each.binding.protocol, each.binding.host_port) == (wanted.protocol, wanted.host_port):
                    return self._holders[container_id]
        return None


def _let_go(sock: socket.socket) -> None:
    """Close a socket; its port is free at once.

    Also if there are copies of it still: the relay has yet to close its own, and so has a process that the
    supervisor is about to start, between fork and exec.
    """
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, _sharing(sock), 1)
        if sock.family == socket.AF_INET6:
            with suppress(OSError):  # a socket that was never connected may be shut down all the same
                sock.shutdown(socket.SHUT_RDWR)


def _sharing(sock: socket.socket) -> int:
    """Return the option with which sockets share a port, if each has it when the later one is bound."""
    return socket.SO_REUSEADDR if sock.type == socket.SOCK_STREAM else socket.SO_REUSEPORT


def port_text(binding: PortBinding) -> str:
    """Return "8080/tcp", with the address before it when that is a certain one."""
    where = f"{binding.host_port}/{binding.protocol}"
    if binding.host_ip in ("0.0.0.0", "::", None):  # noqa: S104 - compared, not bound
        return where
    return f"[{binding.host_ip}]:{where}" if ":" in binding.host_ip else f"{binding.host_ip}:{where}"


def _candidates(port: PublishedPort) -> list[int]:
    if port.host_port is None:
        return [0] * TRIES
    return list(range(port.host_port, (port.host_port_end or port.host_port) + 1))


def _addresses(host_ip: str | None) -> Iterator[str]:
    if host_ip is not None:
        yield host_ip
        return
    yield "0.0.0.0"  # noqa: S104 - a published port is for everybody, as docker's
    if _has_ipv6():
        yield "::"


def _has_ipv6() -> bool:
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", encoding="ascii") as file:
            return file.read().strip() == "0"
    except FileNotFoundError:
        return False


def _socket(version: int, protocol: str) -> socket.socket:
    sock = socket.socket(_FAMILIES[version], _KINDS[protocol] | socket.SOCK_NONBLOCK)
    if version == 6:  # noqa: PLR2004 - IPv6
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, _sharing(sock), 1)
    return sock
