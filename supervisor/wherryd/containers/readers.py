"""Those who have a container's files mounted at the moment, to read or to write them.

Owns who they are. A start waits until they have gone: overlayfs does not allow one upper directory in two
mounts. A removal is refused, or cuts them off.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Generator


class Readers:
    """Who they are; true if there is one."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._gone = trio.lowlevel.ParkingLot()

    def __bool__(self) -> bool:
        return bool(self._scopes)

    @contextmanager
    def one(self, name: str) -> Generator[None]:
        """Be one of them for a while, in one task. Raises Conflict if cut off; `name` is the container's."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
                if not self._scopes:
                    self._gone.unpark_all()
        if scope.cancelled_caught:
            raise Conflict(f"container {name} was removed meanwhile")

    async def wait_gone(self) -> None:
        """Wait until there is none."""
        while self._scopes:
            await self._gone.park()

    async def cut_off(self) -> None:
        """Cancel them all, and those who come meanwhile, until there is none."""
        while self._scopes:
            for scope in self._scopes:
                scope.cancel()
            await self._gone.park()
