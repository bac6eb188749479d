"""Tasks: how all of ours begin, and work that outlives the request that asked for it.

Every nursery and every task of the supervisor is begun here: one that fails for want of memory ends us before
anybody waits for it (no_memory.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, TypeVarTuple

import trio

from wherryd import journal, no_memory
from wherryd.kernel.shortage import shortage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")
Args = TypeVarTuple("Args")


def open_nursery() -> AbstractAsyncContextManager[trio.Nursery]:
    """Return a nursery. As trio's, but that it does not wait for a task that could be begun by half only."""
    return _Nursery()


class _Nursery:
    def __init__(self) -> None:
        self._trios = trio.open_nursery()

    async def __aenter__(self) -> trio.Nursery:
        return await self._trios.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        no_memory.ends_us(error)
        return await self._trios.__aexit__(kind, error, trace)


def start_soon(nursery: trio.Nursery, function: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
    """Have a task run a function. As trio's."""
    try:
        nursery.start_soon(_mortal, function, args, name=function)
    except MemoryError:
        no_memory.end()


async def _mortal(function: Callable[[*Args], Awaitable[object]], args: tuple[*Args]) -> None:
    try:
        await function(*args)
    except BaseException as error:
        no_memory.ends_us(error)
        raise


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
    start_soon(nursery, _run, function, outcome)
    return await outcome.wait()


async def _run(function: Callable[[], Awaitable[T]], outcome: Outcome[T]) -> None:
    try:
        value = await function()
    except Exception as error:  # noqa: BLE001 - handed to the waiter, whatever it is
        no_memory.ends_us(error)
        outcome.fail(error)
    else:
        outcome.set(value)


async def guarded(name: str, function: Callable[[], Awaitable[None]]) -> None:
    """Run a background service; a defect in it is told, and it is started again after a second."""
    while True:
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - the services that remain must go on
            no_memory.ends_us(error)
            if shortage(error) is None:
                journal.defect("service failed, restarting it", error, service=name)
            else:
                journal.error("service is short of something, restarting it", error=error, service=name)
            await trio.sleep(1)
        else:
            return
