"""Published ports on the wire: what is asked for, and what is in effect."""

from __future__ import annotations

from wherry_protocol.typed import Literal
from wherry_protocol.value import Value

Transport = Literal["tcp", "udp"]


PORTS_MAX = 1024
"""Ports that one container may publish: each costs the supervisor two descriptors."""


class PublishedPort(Value):
    """A port of the container that the host passes on to it.

    `host_port` None is a free one, chosen at each start; with `host_port_end` it is the first free one from
    `host_port` to there, both included. `host_ip` None is every address of the host, IPv4 and IPv6.

    Example:
        RunSpec(image="web", ports=(PublishedPort(host_port=8080, container_port=80),))

    """

    container_port: int
    host_port: int | None = None
    host_port_end: int | None = None
    host_ip: str | None = None
    protocol: Transport = "tcp"


class PortBinding(Value):
    """A port in effect: what reaches `host_ip` at `host_port` reaches the container at `container_port`.

    `host_ip` is "0.0.0.0" or "::" for every address. A port that is only exposed has neither of the two.
    """

    container_port: int
    protocol: Transport = "tcp"
    host_ip: str | None = None
    host_port: int | None = None
