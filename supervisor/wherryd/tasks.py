"""Work that outlives the request that asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from wherryd import journal
from wherryd.kernel.shortage import shortage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Outcome(Generic[T]):
    """A result that one task gives once and another waits for.

    Who waits takes an exception away: what it came through leads back here, and only the collector, which
    comes rarely, would find such a ring.
    """

    def __init__(self) -> None:
        self._done = trio.Event()
        self._value: T | None = None
        self._error: Exception | None = None

    def set(self, value: T) -> None:
        """Give the result."""
        self._value = value
        self._done.set()

    def fail(self, error: Exception) -> None:
        """Give an exception instead."""
        self._error = error
        self._done.set()

    async def wait(self) -> T:
        """Wait for the result; raises the exception if one was given. To be called once."""
        await self._done.wait()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        return self._value  # type: ignore[return-value] # T may be None itself


async def detached(nursery: trio.Nursery, function: Callable[[], Awaitable[T]]) -> T:
    """Run `function` in `nursery` and wait for it; when the waiter is cancelled, the function goes on."""
    outcome: Outcome[T] = Outcome()
    nursery.start_soon(_run, function, outcome)
    return await outcome.wait()


async def _run(function: Callable[[], Awaitable[T]], outcome: Outcome[T]) -> None:
    try:
        value = await function()
    except Exception as error:  # noqa: BLE001 - handed to the waiter, whatever it is
        outcome.fail(error)
    else:
        outcome.set(value)


async def guarded(name: str, function: Callable[[], Awaitable[None]]) -> None:
    """Run a background service; a defect in it is told, and it is started again after a second."""
    while True:
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - the services that remain must go on
            if shortage(error) is None:
                journal.defect("service failed, restarting it", error, service=name)
            else:
                journal.error("service is short of something, restarting it", error=error, service=name)
            await trio.sleep(1)
        else:
            return
