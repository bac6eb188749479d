"""Doing a long thing once for all who ask for it at the same time.

The work belongs to nobody of them: it runs in a task of its own, goes on while anyone waits, and is
cancelled when the last one has gone. Must never outlive its last waiter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from wherry_protocol.errors import Busy, InternalError, WherryError, from_reply
from wherryd import journal, no_memory
from wherryd.shortage import refusal

T = TypeVar("T")
Listener = Callable[[int, int], None]
Job = Callable[[Listener], Awaitable[T]]
"""The work; it calls what it is given with (done, total) to say how far it is."""


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.landed = trio.Event()
        self.listeners: dict[object, Listener | None] = {}
        self.result: list[T] = []
        self.error: WherryError = Busy("the supervisor is stopping")

    def report(self, done: int, total: int) -> None:
        for listener in self.listeners.values():
            if listener is not None:
                listener(done, total)


class Flights(Generic[T]):
    """Work in progress, by key."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, job: Job[T], listener: Listener | None) -> T:
        """Return what `job` returns, or join the one that runs under the same key.

        Raises the WherryError that the job raised; anything else becomes an InternalError.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            trio.lowlevel.spawn_system_task(self._fly, key, flight, job, name=f"image flight {key}")
        waiter = object()
        flight.listeners[waiter] = listener
        try:
            await flight.landed.wait()
        finally:
            del flight.listeners[waiter]
            if not flight.listeners and not flight.landed.is_set():
                await self._abandon(key, flight)
        if flight.result:
            return flight.result[0]
        # one instance for each waiter: an exception carries the traceback of whoever raises it
        raise from_reply(flight.error.to_reply())

    async def _abandon(self, key: Hashable, flight: _Flight[T]) -> None:
        self._flights.pop(key, None)
        flight.scope.cancel()
        with trio.CancelScope(shield=True):
            await flight.landed.wait()

    async def _fly(self, key: Hashable, flight: _Flight[T], job: Job[T]) -> None:
        try:
            with flight.scope:
                flight.result.append(await job(flight.report))
        except WherryError as error:
            flight.error = error
        except Exception as error:  # noqa: BLE001 - a system task must not raise: it would end the supervisor
            no_memory.ends_us(error)
            flight.error = _told(error)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.landed.set()


def _told(error: Exception) -> WherryError:
    """Return what who waits is told of what nobody foresaw: we are short of something, or a defect."""
    short = refusal("unpacking", error)
    if short is not None:
        journal.error("not unpacked", error=error)
        return short
    journal.defect("unpacking failed", error)
    return InternalError(f"unpacking failed: {type(error).__name__}: {error}")
