"""Which message may follow which: one table per direction.

Owns the order; must never look into a frame beyond the key that tells its kind.
"""

from __future__ import annotations

from enum import Enum

from wherry_protocol.codec import BadFrame
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """Where one side's sending is."""

    HELLO = "before its hello"
    OPEN = "open"
    CLOSED = "after the end"

    __hash__ = object.__hash__


class Frame(Enum):
    """What a frame is, and the end of the stream. Every frame is looked up: not by a hash of its name."""

    HELLO = "hello"
    REQUEST = "request"
    EVENT = "event"
    ANSWER = "answer"
    ERROR = "error"
    REASON = "last error"
    END = "end of stream"

    __hash__ = object.__hash__


FROM_CLIENT = {
    (State.HELLO, Frame.HELLO): State.OPEN,
    (State.HELLO, Frame.END): State.CLOSED,
    (State.OPEN, Frame.REQUEST): State.OPEN,
    (State.OPEN, Frame.END): State.CLOSED,
}
FROM_SERVER = {
    (State.HELLO, Frame.HELLO): State.OPEN,
    (State.HELLO, Frame.REASON): State.CLOSED,
    (State.HELLO, Frame.END): State.CLOSED,
    (State.OPEN, Frame.EVENT): State.OPEN,
    (State.OPEN, Frame.ANSWER): State.OPEN,
    (State.OPEN, Frame.ERROR): State.OPEN,
    (State.OPEN, Frame.REASON): State.CLOSED,
    (State.OPEN, Frame.END): State.CLOSED,
    (State.CLOSED, Frame.END): State.CLOSED,
}

_KINDS = {"op": Frame.REQUEST, "event": Frame.EVENT, "ok": Frame.ANSWER, "wherry": Frame.HELLO}
"""The key that tells a frame's kind; a request comes first, as its fields may have any name."""


def move(moves: Mapping[tuple[State, Frame], State], state: State, frame: Frame) -> State:
    """Return the state after a frame. Raises BadFrame if it is out of order."""
    after = moves.get((state, frame))
    if after is None:
        raise BadFrame(f"{frame.value} is not allowed {state.value}")
    return after


def kind_of_frame(frame: dict[Any, Any]) -> Frame:
    """Return a frame's kind. Raises BadFrame."""
    for key, kind in _KINDS.items():
        if key in frame:
            return kind
    if "error" in frame:
        return Frame.REASON if frame.get("id") is None else Frame.ERROR
    raise BadFrame("a frame is neither hello, request, event, answer nor error")
