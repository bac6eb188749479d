"""The request to read the supervisor's settings again."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value


class Reloaded(Value):
    """By name, the new values: those that hold `changed`, and those that wait for the next start."""

    changed: Mapping[str, str]
    at_next_start: Mapping[str, str]


class Reload(Call[Reloaded]):
    """Read flags, environment and file again. Refused (bad_request), nothing changed, when it cannot be."""

    op = "reload"
    answer = Reloaded
