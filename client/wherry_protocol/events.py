"""What a Connection tells its adapter: one value per thing that happened.

Owns these values; must never travel themselves (connection.py builds them from frames).
"""

from __future__ import annotations

from enum import Enum

from wherry_protocol.typed import TYPE_CHECKING, Any
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from wherry_protocol.call import Call
    from wherry_protocol.errors import WherryError


class HelloReceived(Value):
    """The peer's protocol version (equal to ours, or next_event raises) and software version."""

    protocol: int
    version: str


class RequestReceived(Value):
    """A well-formed request."""

    id: int
    call: Call[Any]
    fds: tuple[int, ...] = ()


class RequestRefused(Value):
    """A request that this version cannot understand; `error` names the field."""

    id: int
    error: WherryError
    fds: tuple[int, ...] = ()


class EventReceived(Value):
    """Something happened on a stream."""

    id: int
    event: Value
    fds: tuple[int, ...] = ()


class AnswerReceived(Value):
    """The request with this id is done; `value` has its call's answer type."""

    id: int
    value: Any
    fds: tuple[int, ...] = ()


class ErrorReceived(Value):
    """The request with this id failed, or (None) the server says why it hangs up."""

    id: int | None
    error: WherryError


class ConnectionClosed(Value):
    """The peer hung up between two frames."""


class NeedData(Enum):
    """The type of NEED_DATA."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA
"""Nothing more until bytes arrive."""

Event = (
    HelloReceived
    | RequestReceived
    | RequestRefused
    | EventReceived
    | AnswerReceived
    | ErrorReceived
    | ConnectionClosed
)
