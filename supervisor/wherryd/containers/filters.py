"""`ps --filter`: which containers a listing shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.container_state import ContainerSummary

HEALTH = ("starting", "healthy", "unhealthy", "none")
STATES = ("created", "running", "paused", "restarting", "exited")


def _label(row: ContainerSummary, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    return key in row.labels and (not equals or row.labels[key] == wanted)


def _exited(row: ContainerSummary, value: str) -> bool:
    return row.state == "exited" and row.exit is not None and str(row.exit.exit_code) == value


_MATCHERS: dict[str, Callable[[ContainerSummary, str], bool]] = {
    "name": lambda row, value: value in row.name,
    "id": lambda row, value: row.id.startswith(value),
    "status": lambda row, value: row.state == value,
    "label": _label,
    "exited": _exited,
    "health": lambda row, value: (row.health or "none") == value,
    "ancestor": lambda row, value: row.image == value,
    "volume": lambda row, value: value in row.mounts,
    "network": lambda row, value: value in row.networks,
}


def check(filters: tuple[tuple[str, str], ...]) -> None:
    """Raises BadRequest for an unknown key or a status that no container can have."""
    for key, value in filters:
        if key not in _MATCHERS:
            raise BadRequest(f"filter {key[:40]!r} is unknown", hint=f"known: {', '.join(_MATCHERS)}")
        if key == "status" and value not in STATES:
            raise BadRequest(f"filter status={value[:40]} is unknown", hint=f"known: {', '.join(STATES)}")
        if key == "health" and value not in HEALTH:
            raise BadRequest(f"filter health={value[:40]} is unknown", hint=f"known: {', '.join(HEALTH)}")
        if key == "exited" and not value.isdecimal():
            raise BadRequest(f"filter exited={value[:40]} is no exit code")


def matches(row: ContainerSummary, filters: tuple[tuple[str, str], ...]) -> bool:
    """Say whether a row passes: one of the values of each key that is given."""
    wanted: dict[str, list[str]] = {}
    for key, value in filters:
        wanted.setdefault(key, []).append(value)
    return all(any(_MATCHERS[key](row, value) for value in values) for key, values in wanted.items())
