"""Changes of containers that are under way.

Owns that each comes to its end, also when the client that asked for it is gone, and who waits for that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from wherryd.tasks import detached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Changes:
    """The changes of one supervisor; each runs in the containers' nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._under_way = 0
        self._idle = trio.lowlevel.ParkingLot()

    async def make(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a change to its end; whoever waits for it here may be cancelled. Raises what it raises."""
        await detached(self._nursery, partial(self.count, function))

    async def count(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a change in the task that asks for it, which nobody cancels."""
        self._under_way += 1
        try:
            await function()
        finally:
            self._under_way -= 1
            self._idle.unpark_all()

    async def wait_idle(self) -> None:
        """Wait until none is under way."""
        while self._under_way:
            await self._idle.park()
