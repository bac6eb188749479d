"""-p, -P and --expose: the grammar of published ports.

Owns the reading of [HOSTIP:][HOST:]CONTAINER[/udp], its ranges, and HOST=CONTAINER. Must never check what
only the supervisor can know.
"""

from __future__ import annotations

from wherry_protocol.errors import BadRequest
from wherry_protocol.ports import PORTS_MAX, PublishedPort
from wherry_protocol.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry_protocol.ports import Transport

_FORMS = "8080:80, 127.0.0.1:8080:80, [::1]:8080:80, 8000-8010:80-90, 80, any of them with /udp"
_PLAIN_FORMS = "80 or 53/udp"
_PORT_MAX = 65535


def publish(given: Iterable[str]) -> tuple[PublishedPort, ...]:
    """Return what all the -p options come to, ranges spelt out. Raises BadRequest for a mistake."""
    found = tuple(port for text in given for port in published(text))
    if len(found) > PORTS_MAX:
        raise BadRequest(f"-p: {len(found)} ports are published, {PORTS_MAX} at most are possible")
    return found


def published(text: str) -> tuple[PublishedPort, ...]:
    """Read one -p option."""
    where = f"-p {text!r}"
    rest, transport = _transport(text, where)
    host_ip, host, container = _parts(rest, where)
    first, last = _range(container, where)
    if not host:
        return tuple(
            PublishedPort(container_port=port, host_ip=host_ip, protocol=transport)
            for port in range(first, last + 1)
        )
    host_first, host_last = _range(host, where)
    if first == last and host_first != host_last:
        return (
            PublishedPort(
                container_port=first, host_port=host_first, host_port_end=host_last, host_ip=host_ip,
                protocol=transport,
            ),
        )  # fmt: skip
    if host_last - host_first != last - first:
        raise BadRequest(f"{where}: the ranges {host} and {container} are not of the same length")
    return tuple(
        PublishedPort(
            container_port=port, host_port=host_first + port - first, host_ip=host_ip, protocol=transport
        )
        for port in range(first, last + 1)
    )


def exposed(given: Iterable[str]) -> tuple[str, ...]:
    """Return the ports of all the --expose options, each as "80/tcp", ranges spelt out."""
    found: list[str] = []
    for text in given:
        where = f"--expose {text!r}"
        rest, transport = _transport(text, where)
        first, last = _range(rest, where, _PLAIN_FORMS)
        found += [f"{port}/{transport}" for port in range(first, last + 1)]
    return tuple(found)


def port_and_transport(text: str, where: str) -> tuple[int, Transport]:
    """Read "80" or "80/udp"."""
    rest, transport = _transport(text, where)
    first, last = _range(rest, where, _PLAIN_FORMS)
    if first != last:
        raise BadRequest(f"{where}: expected one port", hint=_PLAIN_FORMS)
    return first, transport


def _transport(text: str, where: str) -> tuple[str, Transport]:
    rest, slash, transport = text.partition("/")
    transport = transport.lower() if slash else "tcp"
    if not transport:
        raise BadRequest(f"{where}: the protocol is missing", hint="/tcp or /udp")
    if transport not in {"tcp", "udp"}:
        raise BadRequest(f"{where}: {transport!r} is not a protocol that can be published", hint="tcp or udp")
    return rest, cast("Transport", transport)


def _parts(text: str, where: str) -> tuple[str | None, str, str]:
    """Split into the host's address, its port and the container's."""
    if text.startswith("["):
        host_ip, bracket, rest = text[1:].partition("]:")
        if not bracket or not host_ip:
            raise BadRequest(f"{where}: the address in brackets is malformed", hint="[::1]:8080:80")
    else:
        host_ip, rest = "", text
    before, equals, after = rest.partition("=")
    words = [*before.split(":"), after] if equals else rest.split(":")
    if not host_ip and len(words) == 3:  # noqa: PLR2004 - address, host's port, container's
        host_ip, *words = words
    if len(words) > 2 or (host_ip and len(words) == 1) or "=" in after:  # noqa: PLR2004 - host's, container's
        raise BadRequest(f"{where}: not a published port", hint=_FORMS)
    if host_ip and not _is_address(host_ip):
        raise BadRequest(f"{where}: {host_ip!r} is no IP address", hint=_FORMS)
    host = words[0] if len(words) == 2 else ""  # noqa: PLR2004
    if equals and not host:
        raise BadRequest(f"{where}: the host's port is missing", hint="HOST=CONTAINER")
    return host_ip or None, host, words[-1]


def _is_address(text: str) -> bool:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a zero byte
            continue
        return True
    return False


def _range(text: str, where: str, forms: str = _FORMS) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _port(first, where, forms)
    end = _port(last, where, forms) if dash else start
    if end < start:
        raise BadRequest(f"{where}: the range {text} runs backwards")
    return start, end


def _port(text: str, where: str, forms: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(
            f"{where}: {text!r} is no port" if text else f"{where}: a port is missing", hint=forms
        )
    if len(text) > 5 or not 1 <= int(text) <= _PORT_MAX:  # noqa: PLR2004 - digits of 65535
        raise BadRequest(f"{where}: {text} is out of range", hint=f"ports are 1 to {_PORT_MAX}")
    return int(text)
