"""The async client, for trio and asyncio.

Owns a few idle connections and the start of a supervisor when there is none. Must never know a
verb: async_verbs/ has them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread

from wherry.async_event_stream import AsyncEventStream
from wherry.async_reconnect import AsyncAgain, call_again
from wherry.async_verbs import AsyncVerbs
from wherry.async_wire import AsyncWire
from wherry.autostart import autostart_allowed, not_started, refused, start_supervisor
from wherry.following import Following
from wherry.session import HungUp
from wherry.settings import find_directories
from wherry.wire import NoSupervisor
from wherry_protocol.errors import Conflict, NotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from wherry_protocol.call import Call, R, Stream

_IDLE_MAX = 4
"""Connections kept: more cost the supervisor a task each and save nobody a noticeable time."""


class AsyncClient(AsyncVerbs):
    """A client of the supervisor at `run_dir`, for one event loop.

    Arguments as of Client. For a time limit put a call under anyio.fail_after: what is cancelled
    here goes on there.

    Example:
        async with AsyncClient() as client:
            result = await client.run(RunSpec(image="host", command=("echo", "hi")))

    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        state_dir: str | os.PathLike[str] | None = None,
        autostart: bool = True,
        reconnect: float = 0.0,
        on_away: Callable[[bool], None] | None = None,
    ) -> None:
        self.directories = find_directories(run_dir, state_dir)
        self._autostart = autostart
        self._reconnect = reconnect
        self._on_away = on_away
        self._idle: list[AsyncWire] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections; the next call opens another."""
        while self._idle:
            await self._idle.pop().aclose()

    async def call(self, call: Call[R]) -> R:
        """Send any request and return its answer."""
        wire = await self._take()
        try:
            return await wire.call(call)
        except HungUp as error:
            if not self._reconnect or not call.repeatable:
                raise
            lost = error
        finally:
            await self._give_back(wire)
        return await call_again(call, lost, self._connect_only, self._reconnect, self._on_away)

    def stream(self, call: Stream[R], fds: Sequence[int] = ()) -> AsyncEventStream[Any, R]:
        """Send any streaming request; its events come from the result.

        Copies of `fds` ride along; they stay the caller's, and open until the stream is entered.
        """
        again = None
        if self._reconnect and Following.possible(call):
            again = AsyncAgain(Following(call), self._connect_only, self._reconnect, self._on_away)

        async def begin() -> AsyncWire:
            wire = await self._take()
            try:
                await wire.begin(again.following.first if again else call, fds)
            except BaseException:
                await wire.aclose()
                raise
            return wire

        return AsyncEventStream(begin, self._give_back, self._end_input, again)

    async def _take(self) -> AsyncWire:
        while self._idle:
            wire = self._idle.pop()
            if wire.reusable:
                return wire
            await wire.aclose()
        return await self._connect()

    async def _give_back(self, wire: AsyncWire) -> None:
        if len(self._idle) < _IDLE_MAX and wire.reusable:
            self._idle.append(wire)
        else:
            await wire.aclose()

    async def _connect_only(self) -> AsyncWire:
        return await AsyncWire.connect(self.directories.socket)

    async def _connect(self) -> AsyncWire:
        try:
            return await AsyncWire.connect(self.directories.socket)
        except NoSupervisor as error:
            if not self._autostart:
                raise
            if not autostart_allowed():
                raise refused(error) from None
        reason = await anyio.to_thread.run_sync(start_supervisor, self.directories)
        try:
            return await AsyncWire.connect(self.directories.socket)
        except NoSupervisor:
            raise not_started(reason) from None

    async def _end_input(self, ref: str) -> None:
        # It may have ended meanwhile, and be removed: then its exit is on the way.
        with suppress(NotFound, Conflict):
            await self.close_stdin(ref)
