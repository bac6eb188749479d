"""What a container's /etc/hosts, hostname and resolv.conf say. Reads the host's; changes nothing."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry_protocol.networks import Endpoint
    from wherry_protocol.run_spec import RunSpec

HOST_GATEWAY = "host-gateway"
"""In an extra host: the address by which a container reaches its host."""

_RESOLVED_STUB = "127.0.0.53"
_RESOLVED_UPSTREAM = "/run/systemd/resolve/resolv.conf"
_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NONE = "# no network\n"
_HOSTS_MAX = 1 << 16
_NO_SERVERS = "# the host has no name servers that a container can reach\n"


class Etc(NamedTuple):
    """The contents of /etc/hosts, /etc/hostname and /etc/resolv.conf."""

    hosts: bytes
    hostname: bytes
    resolv_conf: bytes


def etc_files(
    spec: RunSpec, hostname: str, endpoints: Sequence[Endpoint], nameservers: Sequence[str] | None = None
) -> Etc:
    """Return what the files say. `nameservers` are ours, for networks that have names; None: the host's."""
    if spec.network == "host":
        hosts, resolv = _read("/etc/hosts"), _read("/etc/resolv.conf")
        if spec.dns or spec.dns_search or spec.dns_options:
            resolv = resolv_conf(spec, None).encode()
        gateway = "127.0.0.1"
        hosts += _extra(spec.extra_hosts, gateway).encode()
    elif endpoints:
        hosts = hosts_of(spec, hostname, endpoints).encode()
        resolv = resolv_conf(spec, nameservers).encode()
    else:
        names = f"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback {hostname}\n"
        hosts, resolv = (names + _extra(spec.extra_hosts, "127.0.0.1")).encode(), _NONE.encode()
    return Etc(hosts, f"{hostname}\n".encode(), resolv)


def hosts_of(spec: RunSpec, hostname: str, endpoints: Sequence[Endpoint]) -> str:
    """Return /etc/hosts of a container on networks: its own addresses, and what was asked for."""
    gateway = next((each.gateway for each in endpoints if each.gateway), None) or "127.0.0.1"
    return _LOCALHOST + _extra(spec.extra_hosts, gateway) + own_lines(hostname, endpoints)


def own_lines(hostname: str, endpoints: Sequence[Endpoint]) -> str:
    """Return the lines of a container's own name."""
    names = hostname if "." not in hostname else f"{hostname} {hostname.partition('.')[0]}"
    own = [address for each in endpoints for address in (each.ip, each.ip6) if address]
    return "".join(f"{address}\t{names}\n" for address in own)


def without(text: str, endpoint: Endpoint) -> str:
    """Return a hosts file without the lines of an endpoint's addresses."""
    gone = {endpoint.ip, endpoint.ip6}
    return "".join(
        line for line in text.splitlines(keepends=True) if line.split()[:1] and line.split()[0] not in gone
    )


def read_bounded(path: Path) -> str | None:
    """Return a file that a container may have written, None when it is no hosts file of a sane size."""
    try:
        with path.open("rb") as file:
            data = file.read(_HOSTS_MAX + 1)
    except FileNotFoundError:
        return None
    return data.decode(errors="surrogateescape") if len(data) <= _HOSTS_MAX else None


def resolv_conf(spec: RunSpec, nameservers: Sequence[str] | None) -> str:
    """Return /etc/resolv.conf: what was asked for, else ours, else the host's that a container can reach."""
    host = _read("/etc/resolv.conf").decode(errors="replace")
    if nameservers is None:
        nameservers = spec.dns or host_nameservers(host)
    search = spec.dns_search or _words(host, "search")
    options = spec.dns_options or _words(host, "options")
    lines = [f"nameserver {each}" for each in nameservers]
    if search and tuple(search) != (".",):
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "".join(f"{line}\n" for line in lines) or _NO_SERVERS


def name_servers(text: str) -> tuple[str, ...]:
    """Return the name servers that a resolv.conf names."""
    return _words(text, "nameserver")


def host_nameservers(text: str) -> tuple[str, ...]:
    """Return the name servers of a resolv.conf that are not the host's own loopback, but those behind it."""
    found = _words(text, "nameserver")
    if _RESOLVED_STUB in found:
        found = _words(_read(_RESOLVED_UPSTREAM).decode(errors="replace"), "nameserver")
    return tuple(each for each in found if _reachable(each))


def _reachable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def _words(text: str, keyword: str) -> tuple[str, ...]:
    """Return the words after a keyword: of every line for name servers, of the last one for the rest."""
    lines = [line.split()[1:] for line in text.splitlines() if line.split()[:1] == [keyword]]
    if keyword == "nameserver":
        return tuple(word for line in lines for word in line[:1])
    return tuple(lines[-1]) if lines else ()


def _extra(extra_hosts: Sequence[str], gateway: str) -> str:
    pairs = (each.partition(":") for each in extra_hosts)
    return "".join(
        f"{gateway if address == HOST_GATEWAY else address.strip('[]')}\t{name}\n"
        for name, _, address in pairs
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""
