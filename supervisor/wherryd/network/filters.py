"""`network ls --filter`: which networks a listing shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.networks import PREDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.networks import NetworkSummary

_TRUE, _FALSE = ("true", "1"), ("false", "0")
_TYPES = ("builtin", "custom")


def _label(row: NetworkSummary, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    return key in row.labels and (not equals or row.labels[key] == wanted)


def _dangling(row: NetworkSummary, value: str) -> bool:
    return (value in _TRUE) is (row.name not in PREDEFINED and not row.members)


_MATCHERS: dict[str, Callable[[NetworkSummary, str], bool]] = {
    "name": lambda row, value: value in row.name,
    "id": lambda row, value: row.id.startswith(value),
    "label": _label,
    "dangling": _dangling,
    "driver": lambda row, value: row.driver == value,
    "scope": lambda _row, value: value == "local",
    "type": lambda row, value: (row.name in PREDEFINED) is (value == "builtin"),
}

_CHOICES = {"dangling": (*_TRUE, *_FALSE), "type": _TYPES}


def check(filters: tuple[tuple[str, str], ...]) -> None:
    """Raises BadRequest for an unknown key, and for a value that the key does not have."""
    for key, value in filters:
        if key not in _MATCHERS:
            raise BadRequest(f"filter {key[:40]!r} is unknown", hint=f"known: {', '.join(_MATCHERS)}")
        if value not in _CHOICES.get(key, (value,)):
            raise BadRequest(f"filter {key}={value[:40]}: it is one of {', '.join(_CHOICES[key])}")


def matches(row: NetworkSummary, filters: tuple[tuple[str, str], ...]) -> bool:
    """Say whether a row passes: one of the values of each key that is given."""
    wanted: dict[str, list[str]] = {}
    for key, value in filters:
        wanted.setdefault(key, []).append(value)
    return all(any(_MATCHERS[key](row, value) for value in values) for key, values in wanted.items())
