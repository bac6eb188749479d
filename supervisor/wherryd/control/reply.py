"""A stream's way to its client for a verb without a task: every word is sent in the step in which it is said.

What the client does not take at once waits for it in a task of the connection's. Words to a client that has
hung up are lost, as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherryd.control.unforeseen import advised, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry_protocol.connection import Connection, RequestReceived
    from wherry_protocol.errors import WherryError
    from wherry_protocol.value import Value
    from wherryd.control.sender import Sender


class Reply:
    """Answers one request, which is `done` then. `fds` are what rode along, as an emitter's."""

    def __init__(
        self, connection: Connection, sender: Sender, nursery: trio.Nursery, request: RequestReceived
    ) -> None:
        self.fds = [*request.fds]
        self.done = False
        self._waiter: trio.Event | None = None
        self._connection = connection
        self._sender = sender
        self._nursery = nursery
        self._id = request.id
        self._op = request.call.op
        self._held = b""

    def hold(self, event: Value) -> None:
        """Have an event sent with the next word."""
        if not self._sender.over:
            self._held += self._connection.send_event(self._id, event)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            self._send(b"")

    def event(self, event: Value, fds: Sequence[int] = ()) -> None:
        """Send an event; the descriptors are copied, not taken."""
        if not self._sender.over:
            self._send(self._connection.send_event(self._id, event, fds=len(fds)), fds)

    def answer(self, value: Value) -> None:
        """End the request well."""
        self._end()
        if not self._sender.over:
            self._send(self._connection.send_answer(self._id, value))

    def settle(self) -> None:
        """End the request without a word: its client has the answer from elsewhere."""
        self._end()
        self._held = b""
        self._connection.settle(self._id)

    async def wait_done(self) -> None:
        """Wait for the end of the request."""
        if not self.done:
            self._waiter = self._waiter or trio.Event()
            await self._waiter.wait()

    def fail(self, error: WherryError) -> None:
        """End the request badly."""
        self._end()
        if not self._sender.over:
            self._send(self._connection.send_error(self._id, advised(error)))

    def defect(self, error: Exception) -> None:
        """End the request with what nobody foresaw."""
        self.fail(told(self._op, error))

    def _end(self) -> None:
        self.done = True
        if self._waiter is not None:
            self._waiter.set()

    def _send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        data, self._held = self._held + data, b""
        self._sender.send_at_once(data, fds, self._nursery)
