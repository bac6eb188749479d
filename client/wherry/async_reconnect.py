"""The async client's wait for the next supervisor: reconnect.py has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from wherry.reconnect import Away
from wherry.session import HungUp
from wherry.wire import NoSupervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.async_wire import AsyncWire
    from wherry.following import Following
    from wherry.reconnect import Tell
    from wherry_protocol.call import Call, R


class AsyncAgain:
    """How a stream finds the next supervisor."""

    def __init__(
        self,
        following: Following,
        connect: Callable[[], Awaitable[AsyncWire]],
        seconds: float,
        tell: Tell | None,
    ) -> None:
        self.following = following
        self._connect = connect
        self._seconds = seconds
        self._tell = tell

    async def wire(self, error: HungUp) -> AsyncWire:
        """Return a connection on which the stream goes on. Raises ConnectionFailed."""
        call = self.following.call
        if call is None:
            raise error
        away = Away(error, self._seconds, self._tell)
        while True:
            await anyio.sleep(away.pause())
            try:
                wire = await self._connect()
            except NoSupervisor:
                continue
            try:
                await wire.begin(call)
            except BaseException:
                await wire.aclose()
                raise
            away.back()
            return wire


async def call_again(
    call: Call[R],
    error: HungUp,
    connect: Callable[[], Awaitable[AsyncWire]],
    seconds: float,
    tell: Tell | None,
) -> R:
    """Ask the next supervisor, and the one after that, until there is an answer. Raises ConnectionFailed."""
    away = Away(error, seconds, tell)
    while True:
        await anyio.sleep(away.pause())
        try:
            wire = await connect()
        except NoSupervisor:
            continue
        try:
            away.back()
            return await wire.call(call)
        except HungUp as again:
            away = Away(again, seconds, tell)
        finally:
            await wire.aclose()
