"""`volume ls --filter`: which volumes a listing shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.volumes import VolumeSummary

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def _label(row: VolumeSummary, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    return key in row.labels and (not equals or row.labels[key] == wanted)


_MATCHERS: dict[str, Callable[[VolumeSummary, str], bool]] = {
    "name": lambda row, value: value in row.name,
    "label": _label,
    "dangling": lambda row, value: (value in _TRUE) is not bool(row.users),
    "driver": lambda _row, value: value == "local",
}


def check(filters: tuple[tuple[str, str], ...]) -> None:
    """Raises BadRequest for an unknown key, and for a value that is neither true nor false."""
    for key, value in filters:
        if key not in _MATCHERS:
            raise BadRequest(f"filter {key[:40]!r} is unknown", hint=f"known: {', '.join(_MATCHERS)}")
        if key == "dangling" and value not in (*_TRUE, *_FALSE):
            raise BadRequest(f"filter dangling={value[:40]} is neither true nor false")


def matches(row: VolumeSummary, filters: tuple[tuple[str, str], ...]) -> bool:
    """Say whether a row passes: one of the values of each key that is given."""
    wanted: dict[str, list[str]] = {}
    for key, value in filters:
        wanted.setdefault(key, []).append(value)
    return all(any(_MATCHERS[key](row, value) for value in values) for key, values in wanted.items())
