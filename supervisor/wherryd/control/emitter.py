"""A stream's way to its client, for a verb with a task. reply.py has the other kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd import journal
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from wherry_protocol.value import Value
    from wherryd.control.session import Session


class Emitter:
    """A stream's way to its client.

    `fds` are the descriptors that rode along with the request; those that the verb leaves in the list are
    closed when it ends.
    """

    def __init__(self, session: Session, identity: int, fds: list[int], nursery: trio.Nursery) -> None:
        self.fds = fds
        self._session = session
        self._identity = identity
        self._nursery = nursery
        self._pending = False

    async def send(self, event: Value, fds: Sequence[int] = ()) -> None:
        """Send an event; the descriptors are copied, not taken."""
        await self._session.emit(self._identity, event, fds)

    def lazily(self, event: Value) -> None:
        """Send an event together with the next one, if that comes in the next milliseconds."""
        self._session.hold(self._identity, event, self._nursery)

    def soon(self, event: Value) -> None:
        """Send an event from sync code; it is dropped while the one before is still on its way."""
        if not self._pending:
            self._pending = True
            start_soon(self._nursery, self._send_pending, event)

    async def _send_pending(self, event: Value) -> None:
        try:
            await self.send(event)
        except OSError as error:
            journal.debug("a client hung up", error=error)
        finally:
            self._pending = False
