"""Which ports a container publishes, checked, and where they lead. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.ports import PORTS_MAX, PortBinding, PublishedPort
from wherryd.network.addresses import parse_address
from wherryd.network.rules.ruleset import Forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry_protocol.networks import Endpoint
    from wherry_protocol.ports import Transport
    from wherry_protocol.run_spec import RunSpec
    from wherryd.containers.config import Config

PORT_MAX = 65535
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check(spec: RunSpec) -> None:
    """Refuse what cannot be published. Raises BadRequest naming it."""
    for port in spec.ports:
        _check_port(port)
    _check_distinct(spec.ports)
    for text in spec.expose:
        exposed(text)
    if len(spec.ports) > PORTS_MAX:
        raise BadRequest(f"{len(spec.ports)} ports are published: {PORTS_MAX} at most")
    if (spec.ports or spec.publish_all) and spec.network.startswith("container:"):
        raise BadRequest(
            f"ports cannot be published with network {spec.network}",
            hint="publish them where that one is run",
        )


def exposed(text: str) -> tuple[int, Transport]:
    """Read "80/tcp" or "53/udp". Raises BadRequest."""
    number, _slash, protocol = text.partition("/")
    if protocol not in ("tcp", "udp", "") or not (number.isascii() and number.isdigit() and len(number) <= 5):  # noqa: PLR2004 - digits
        raise BadRequest(f"exposed port {text[:40]!r} is malformed", hint="80/tcp or 53/udp")
    if not 1 <= int(number) <= PORT_MAX:
        raise BadRequest(f"exposed port {text}: ports are 1 to {PORT_MAX}")
    return int(number), "udp" if protocol == "udp" else "tcp"


def all_exposed(config: Config) -> tuple[tuple[int, Transport], ...]:
    """Return the ports that a container says it listens at: its own word and its image's."""
    found = {exposed(text): None for text in config.spec.expose}
    for text in config.image.config.exposed_ports:
        try:
            found[exposed(text)] = None
        except BadRequest:
            continue  # an image may say what it likes; sctp is nothing that we publish
    return tuple(sorted(found))


def wanted(config: Config) -> tuple[PublishedPort, ...]:
    """Return what a container publishes, all that is exposed included if that is asked for."""
    spec = config.spec
    if not spec.publish_all:
        return spec.ports
    given = {(port.container_port, port.protocol) for port in spec.ports}
    return (
        *spec.ports,
        *(
            PublishedPort(container_port=number, protocol=protocol)
            for number, protocol in all_exposed(config)
            if (number, protocol) not in given
        ),
    )


def way_in(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """Return the endpoint that published ports lead to: one with a way to the outside."""
    outside = [each for each in endpoints if each.gateway]
    return next((each for each in outside if each.primary), outside[0] if outside else None)


def forwards(bindings: Iterable[PortBinding], endpoint: Endpoint) -> tuple[Forward, ...]:
    """Return what the rules pass on: each family to the container's address of that family, if it has one."""
    return tuple(
        Forward(
            protocol=binding.protocol,
            host_ip="" if host_ip in EVERYWHERE else host_ip,
            host_port=binding.host_port or 0,
            address=address,
            port=binding.container_port,
        )
        for binding in bindings
        if (host_ip := binding.host_ip or EVERYWHERE[0])
        and (address := endpoint.ip6 if ":" in host_ip else endpoint.ip)
    )


def shown(bindings: tuple[PortBinding, ...], config: Config) -> tuple[PortBinding, ...]:
    """Return what people see: the ports in effect, then those that are exposed and not published."""
    published = {(each.container_port, each.protocol) for each in bindings}
    return (
        *bindings,
        *(
            PortBinding(container_port=number, protocol=protocol)
            for number, protocol in all_exposed(config)
            if (number, protocol) not in published
        ),
    )


def _check_distinct(ports: Iterable[PublishedPort]) -> None:
    """Refuse one port for two of the container's; of a range another one can be taken."""
    seen: dict[tuple[str, int], set[str]] = {}
    for port in ports:
        if port.host_port is None or port.host_port_end is not None:
            continue
        addresses = seen.setdefault((port.protocol, port.host_port), set())
        host_ip = port.host_ip or ""
        if host_ip in addresses or "" in addresses or (addresses and not host_ip):
            raise BadRequest(f"port {port.host_port}/{port.protocol} is published twice")
        addresses.add(host_ip)


def _check_port(port: PublishedPort) -> None:
    for number in (port.container_port, port.host_port, port.host_port_end):
        if number is not None and not 1 <= number <= PORT_MAX:
            raise BadRequest(f"published port {number} is out of range", hint=f"ports are 1 to {PORT_MAX}")
    if port.host_port_end is not None and port.host_port_end < (port.host_port or PORT_MAX + 1):
        raise BadRequest(f"published port: the range to {port.host_port_end} runs backwards")
    if port.host_ip is not None:
        parse_address(port.host_ip, "published port:")
