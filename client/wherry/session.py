"""A client's side of one connection, without IO: greets, then carries one call after the other.

Owns what both clients, the plain one and the async one, would otherwise write twice: the
greeting, the events of the call in progress, its end. Must never do IO but close descriptors
that the protocol left unclaimed.
"""

from __future__ import annotations

import os

from wherry_protocol.connection import (
    NEED_DATA,
    AnswerReceived,
    Connection,
    ConnectionClosed,
    ErrorReceived,
    Event,
    EventReceived,
    HelloReceived,
    Role,
)
from wherry_protocol.errors import ConnectionFailed, ProtocolError, WherryError
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wherry_protocol.call import Call

READ_SIZE = 1 << 16
"""Bytes of one read from the socket."""


class HungUp(ConnectionFailed):
    """The supervisor went in the middle of a call; the next one may know more."""


class Session:
    """The calls on one connection, one at a time."""

    def __init__(self) -> None:
        self._connection = Connection(Role.CLIENT)
        self._greeting = self._connection.send_hello()
        self._identity = 0
        self._operation = ""
        self._answer: Any = None
        self._error: WherryError | None = None
        self.done = True
        self.settled = False
        self.broken = False

    @property
    def reusable(self) -> bool:
        """Whether another call may follow on this connection."""
        return self.done and not self.broken

    @property
    def announced(self) -> bool:
        """Whether the next call is announced already."""
        return self._connection.has_announced

    def announce(self) -> bytes:
        """Return what tells the supervisor that a call is about to begin, if there is a way."""
        return b"" if self._greeting else self._connection.send_announcement()

    def begin(self, call: Call[Any], fds: int = 0) -> bytes:
        """Return the bytes that start a call. Raises BadRequest if it is too large."""
        self._identity, data = self._connection.send_request(call, fds=fds)
        greeting, self._greeting = self._greeting, b""
        self._operation, self._answer, self._error = call.op, None, None
        self.done = self.settled = False
        return greeting + data

    def receive(self, data: bytes, fds: Iterable[int] = ()) -> list[EventReceived]:
        """Take in what arrived and return the stream's events in it. Raises ConnectionFailed."""
        self._connection.receive_data(data, fds)
        events: list[EventReceived] = []
        try:
            self._sort(events)
        except ConnectionFailed as error:
            self.broken = True
            close_all(self._connection.take_unclaimed_fds())
            close_all(fd for event in events for fd in event.fds)
            if not data:
                raise self._hung_up() from error  # it was killed in the middle of a frame
            raise
        return events

    def settle(self) -> None:
        """Take note that the call in progress has its answer by another way."""
        self._connection.settle(self._identity)
        self.done = self.settled = True

    def result(self) -> Any:
        """Return the answer of the call that is done, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._answer

    def _sort(self, events: list[EventReceived]) -> None:
        while (event := self._connection.next_event()) is not NEED_DATA:
            if isinstance(event, EventReceived):
                events.append(event)
            elif isinstance(event, ConnectionClosed) and self.done:
                self.broken = True
                break
            else:
                self._settle(event)

    def _settle(self, event: Event) -> None:
        match event:
            case HelloReceived():
                pass
            case AnswerReceived():
                self.done, self._answer = True, event.value
                close_all(event.fds)
            case ErrorReceived(id=None):
                raise ProtocolError(f"the supervisor hung up: {event.error.message}", hint=event.error.hint)
            case ErrorReceived():
                self.done, self._error = True, event.error
            case _:
                raise self._hung_up()

    def _hung_up(self) -> HungUp:
        return HungUp(
            f"{self._operation}: the supervisor hung up before it answered",
            hint="whether it was carried out is unknown; see 'wherry ps -a'",
        )


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
