"""A streaming request in progress, for the plain client.

Owns the connection until the end; must never outlive its `with` block.
"""

from __future__ import annotations

import select
from collections import deque

from wherry.feed import InputFeed
from wherry.session import HungUp, close_all
from wherry_protocol.containers import Started
from wherry_protocol.errors import WherryError
from wherry_protocol.typed import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from wherry.reconnect import Again
    from wherry.wire import Wire
    from wherry_protocol.connection import EventReceived

E = TypeVar("E")
R = TypeVar("R")


class EventStream(Generic[E, R]):
    """Iterate over it for the events; then `answer` holds how it ended.

    Leaving the `with` block before the end hangs up; that changes nothing for the container.
    An error of the supervisor is raised where the iteration ends. With `again` it goes on with the next
    supervisor when one goes.
    """

    def __init__(
        self,
        wire: Wire,
        release: Callable[[Wire], None],
        close_stdin: Callable[[str], None],
        again: Again | None = None,
    ) -> None:
        self.again = again
        self._wire: Wire | None = wire
        self._release = release
        self._close_stdin = close_stdin
        self._ready: deque[E] = deque()
        self._fds: list[int] = []
        self._answer: Any = None
        self._error: WherryError | None = None
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> E:
        while not self._ready:
            if self.ended:
                self._raise_error()
                raise StopIteration
            self._ready.extend(self.receive())
        return self._ready.popleft()

    @property
    def answer(self) -> R:
        """How it ended. Raises what the supervisor answered, or ValueError before the end."""
        if not self.ended:
            raise ValueError("the stream has not ended yet")
        self._raise_error()
        answer: R = self._answer
        return answer

    def fileno(self) -> int:
        """Return a descriptor that is readable when receive() will not wait."""
        return self._open_wire().fileno()

    def receive(self) -> list[E]:
        """Wait for news and return the events in it, maybe none. For loops that poll; others iterate."""
        wire = self._open_wire()
        try:
            events = [self._take(received) for received in wire.receive()]
        except HungUp as error:
            self._go_on(error)
            return []
        if wire.done:
            self._finish(wire)
        return [event for event in events if self.again.following.note(event)] if self.again else events

    def settle(self, answer: R) -> None:
        """Take an answer that came by another way than this stream: that is at its end."""
        wire, self._wire = self._wire, None
        self._answer, self.ended = answer, True
        if wire is not None:
            wire.settle()
            self._release(wire)

    def take_fd(self) -> int | None:
        """Return the descriptor that rode along with Started, at most once: the caller owns it."""
        return self._fds.pop(0) if self._fds else None

    def drain(self, on_event: Callable[[E], None], data: bytes | None = None) -> R:
        """Pass every event on until the end, meanwhile feeding `data` to standard input."""
        feed: InputFeed | None = None
        try:
            while not self.ended:
                if feed is None or self._readable(feed):
                    feed = self._pass_on(on_event, data, feed)
        finally:
            if feed is not None:
                feed.close()
        return self.answer

    def close(self) -> None:
        """Hang up if it has not ended."""
        wire, self._wire = self._wire, None
        close_all(self._fds)
        self._fds.clear()
        if wire is not None:
            wire.close()

    def _pass_on(
        self, on_event: Callable[[E], None], data: bytes | None, feed: InputFeed | None
    ) -> InputFeed | None:
        for event in self.receive():
            if isinstance(event, Started) and data is not None:
                feed = InputFeed(self.take_fd(), data, event.id)
            on_event(event)
        return feed

    def _readable(self, feed: InputFeed) -> bool:
        """Wait until the supervisor has news, writing input while there is room for it."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if feed.fd is not None:
            poll.register(feed.fd, select.POLLOUT)
        ready = [fd for fd, _events in poll.poll()]
        if feed.fd in ready and feed.write():
            self._close_stdin(feed.ref)
        return self.fileno() in ready

    def _take(self, received: EventReceived) -> E:
        self._fds.extend(received.fds)
        event: Any = received.event
        return event  # type: ignore[no-any-return]  # the protocol checked that it is one of E

    def _go_on(self, error: HungUp) -> None:
        if self.again is None:
            raise error
        self.close()
        self._wire = self.again.wire(error)

    def _finish(self, wire: Wire) -> None:
        self.ended = True
        self._wire = None
        try:
            self._answer = wire.result()
        except WherryError as error:
            self._error = error  # raised after the events that came before it
        self._release(wire)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _open_wire(self) -> Wire:
        if self._wire is None:
            raise ValueError("the stream is closed")
        return self._wire
