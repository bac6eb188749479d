"""Ports in docker's words: the column of `ps`, the lines of `port`, the maps of `inspect`. Pure."""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wherry_protocol.ports import PortBinding, PublishedPort

    Binding = dict[str, str]


def host_text(binding: PortBinding) -> str:
    """Return "0.0.0.0:8080", or "[::]:8080"."""
    address = binding.host_ip or ""
    return f"[{address}]:{binding.host_port}" if ":" in address else f"{address}:{binding.host_port}"


def ports_column(bindings: Iterable[PortBinding]) -> str:
    """Return "0.0.0.0:8080->80/tcp, 443/tcp"; consecutive ports as a range, as docker has them."""
    return ", ".join(_run_text(first, last) for first, last in _runs(bindings))


def _runs(bindings: Iterable[PortBinding]) -> list[tuple[PortBinding, PortBinding]]:
    """Return the ports by runs of consecutive ones: the first and the last of each."""
    found: list[tuple[PortBinding, PortBinding]] = []
    for each in sorted(bindings, key=_order):
        if found and _follows(found[-1][1], each):
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found


def _order(binding: PortBinding) -> tuple[bool, str, bool, str, int, int]:
    address = binding.host_ip or ""
    number = binding.host_port or 0
    return (not number, binding.protocol, ":" in address, address, binding.container_port, number)


def _follows(last: PortBinding, each: PortBinding) -> bool:
    port = last.host_port and last.host_port + 1
    return last.replace(container_port=last.container_port + 1, host_port=port) == each


def _run_text(first: PortBinding, last: PortBinding) -> str:
    inside = f"{_span(first.container_port, last.container_port)}/{first.protocol}"
    if first.host_port is None or last.host_port is None:
        return inside
    address = first.host_ip or ""
    where = f"[{address}]" if ":" in address else address
    return f"{where}:{_span(first.host_port, last.host_port)}->{inside}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def ports_document(bindings: Iterable[PortBinding]) -> dict[str, list[Binding] | None]:
    """Return NetworkSettings.Ports: null for a port that is exposed and not published."""
    found: dict[str, list[Binding] | None] = {}
    for each in bindings:
        key = f"{each.container_port}/{each.protocol}"
        if each.host_port is None:
            found.setdefault(key, None)
        else:
            found[key] = [*(found.get(key) or ()), _binding(each.host_ip, str(each.host_port))]
    return found


def bindings_document(ports: Iterable[PublishedPort]) -> dict[str, Any]:
    """Return HostConfig.PortBindings: what was asked for."""
    found: dict[str, list[Binding]] = {}
    for each in ports:
        number = "" if each.host_port is None else str(each.host_port)
        if each.host_port_end is not None:
            number += f"-{each.host_port_end}"
        found.setdefault(f"{each.container_port}/{each.protocol}", []).append(_binding(each.host_ip, number))
    return found


def _binding(address: str | None, number: str) -> Binding:
    return {"HostIp": address or "", "HostPort": number}
