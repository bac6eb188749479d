"""A streaming request in progress, for the async client.

Owns the connection until the end; must never outlive its `async with` block.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from wherry.feed import InputFeed
from wherry.session import HungUp, close_all
from wherry_protocol.containers import Started
from wherry_protocol.errors import WherryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.async_reconnect import AsyncAgain
    from wherry.async_wire import AsyncWire
    from wherry_protocol.connection import EventReceived

E = TypeVar("E")
R = TypeVar("R")

_CLOSE_TIMEOUT = 5.0
"""Seconds for the supervisor to take note that the input has ended."""


class AsyncEventStream(Generic[E, R]):
    """Enter it with `async with`, iterate over it for the events; then `answer` holds how it ended.

    Leaving the block before the end hangs up; that changes nothing for the container.
    An error of the supervisor is raised where the iteration ends.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[AsyncWire]],
        release: Callable[[AsyncWire], Awaitable[None]],
        close_stdin: Callable[[str], Awaitable[None]],
        again: AsyncAgain | None = None,
    ) -> None:
        self._again = again
        self._begin = begin
        self._release = release
        self._close_stdin = close_stdin
        self._wire: AsyncWire | None = None
        self._ready: deque[E] = deque()
        self._fds: list[int] = []
        self._answer: Any = None
        self._error: WherryError | None = None
        self.ended = False

    async def __aenter__(self) -> Self:
        self._wire = await self._begin()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while not self._ready:
            if self.ended:
                self._raise_error()
                raise StopAsyncIteration
            self._ready.extend(await self.receive())
        return self._ready.popleft()

    @property
    def answer(self) -> R:
        """How it ended. Raises what the supervisor answered, or ValueError before the end."""
        if not self.ended:
            raise ValueError("the stream has not ended yet")
        self._raise_error()
        answer: R = self._answer
        return answer

    async def receive(self) -> list[E]:
        """Wait for news and return the events in it, maybe none."""
        if self._wire is None:
            raise ValueError("the stream is not open")
        try:
            events = [self._take(received) for received in await self._wire.receive()]
        except HungUp as error:
            await self._go_on(error)
            return []
        if self._wire.done:
            await self._finish(self._wire)
        return [event for event in events if self._again.following.note(event)] if self._again else events

    def take_fd(self) -> int | None:
        """Return the descriptor that rode along with Started, at most once: the caller owns it."""
        return self._fds.pop(0) if self._fds else None

    async def drain(self, on_event: Callable[[E], None], data: bytes | None = None) -> R:
        """Pass every event on until the end, meanwhile feeding `data` to standard input."""
        feeds: list[InputFeed] = []
        try:
            async with anyio.create_task_group() as group:
                async for event in self:
                    if isinstance(event, Started) and data is not None:
                        feeds.append(InputFeed(self.take_fd(), data, event.id))
                        group.start_soon(self._write, feeds[0])
                    on_event(event)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as group_error:
            raise first_error(group_error) from group_error
        finally:
            for feed in feeds:
                feed.close()
        return self.answer

    async def aclose(self) -> None:
        """Hang up if it has not ended."""
        wire, self._wire = self._wire, None
        close_all(self._fds)
        self._fds.clear()
        if wire is not None:
            await wire.aclose()

    async def _write(self, feed: InputFeed) -> None:
        while feed.fd is not None:
            await anyio.wait_writable(feed.fd)
            if feed.write():
                # Shielded: the run's end is no reason to break off a request that is on its way.
                with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    await self._close_stdin(feed.ref)

    def _take(self, received: EventReceived) -> E:
        self._fds.extend(received.fds)
        event: Any = received.event
        return event  # type: ignore[no-any-return]  # the protocol checked that it is one of E

    async def _go_on(self, error: HungUp) -> None:
        if self._again is None:
            raise error
        await self.aclose()
        self._wire = await self._again.wire(error)

    async def _finish(self, wire: AsyncWire) -> None:
        self.ended = True
        self._wire = None
        try:
            self._answer = wire.result()
        except WherryError as error:
            self._error = error  # raised after the events that came before it
        await self._release(wire)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the error that a task group wrapped: one task feeds, one reads, one fails first."""
    error: BaseException = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error  # pyright: ignore[reportUnknownArgumentType]
