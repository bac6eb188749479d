"""`events --filter`: which events a reader wants. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.event_log import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.event_log import Event


def _container(event: Event, value: str) -> bool:
    return event.type == "container" and _is_called(event, value)


def _image(event: Event, value: str) -> bool:
    if event.type == "image":
        return _is_called(event, value)
    return event.attributes.get("image") == value


def _volume(event: Event, value: str) -> bool:
    return event.type == "volume" and event.actor == value


def _network(event: Event, value: str) -> bool:
    return event.type == "network" and _is_called(event, value)


def _is_called(event: Event, value: str) -> bool:
    actor = event.actor.removeprefix("sha256:")
    return event.attributes.get("name") == value or actor.startswith(value.removeprefix("sha256:"))


def _action(event: Event, value: str) -> bool:
    """Match the whole action, or what stands before its details ("exec_start: sh -c …")."""
    return value in (event.action, event.action.partition(":")[0])


def _label(event: Event, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    return key in event.attributes and (not equals or event.attributes[key] == wanted)


_MATCHERS: dict[str, Callable[[Event, str], bool]] = {
    "container": _container,
    "event": _action,
    "type": lambda event, value: event.type == value,
    "label": _label,
    "image": _image,
    "volume": _volume,
    "network": _network,
}


def check(filters: tuple[tuple[str, str], ...]) -> None:
    """Raises BadRequest for an unknown key, an empty value, or a type that no event has."""
    for key, value in filters:
        if key not in _MATCHERS:
            raise BadRequest(f"filter {key[:40]!r} is unknown", hint=f"known: {', '.join(_MATCHERS)}")
        if not value:
            raise BadRequest(f"filter {key}: the value is empty", hint="write KEY=VALUE")
        if key == "type" and value not in TYPES:
            raise BadRequest(f"filter type={value[:40]} is unknown", hint=f"known: {', '.join(TYPES)}")


def matches(event: Event, filters: tuple[tuple[str, str], ...]) -> bool:
    """Say whether an event passes: one of the values of each key that is given."""
    wanted: dict[str, list[str]] = {}
    for key, value in filters:
        wanted.setdefault(key, []).append(value)
    return all(any(_MATCHERS[key](event, value) for value in values) for key, values in wanted.items())
