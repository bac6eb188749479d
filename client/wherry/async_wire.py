"""One control connection over anyio, on trio or asyncio.

Owns the socket and turns its failures into ConnectionFailed. Must never know a verb.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from wherry.session import READ_SIZE, Session
from wherry.wire import connect_error
from wherry_protocol.connection import MAX_FDS
from wherry_protocol.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import UNIXSocketStream

    from wherry_protocol.call import Call, R
    from wherry_protocol.connection import EventReceived


class AsyncWire:
    """A connection that one task uses at a time."""

    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._session = Session()

    @classmethod
    async def connect(cls, path: str) -> AsyncWire:
        """Open a connection. Raises NoSupervisor, ConnectionFailed."""
        try:
            return cls(await anyio.connect_unix(path))
        except OSError as error:
            raise connect_error(error, path) from error

    @property
    def reusable(self) -> bool:
        """Whether another call may follow: the last one is done and the supervisor still listens."""
        if not self._session.reusable:
            return False
        raw = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
        try:
            raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def done(self) -> bool:
        """Whether the call in progress has its answer."""
        return self._session.done

    async def aclose(self) -> None:
        """Hang up."""
        with anyio.CancelScope(shield=True):
            await self._stream.aclose()

    async def call(self, call: Call[R]) -> R:
        """Send a request and return its answer. Raises what the supervisor answers, or ConnectionFailed."""
        await self.begin(call)
        while not self.done:
            await self.receive()
        answer: R = self.result()
        return answer

    async def begin(self, call: Call[Any], fds: Sequence[int] = ()) -> None:
        """Send a request, with copies of descriptors."""
        data = self._session.begin(call, len(fds))
        try:
            if fds:
                await self._stream.send_fds(data, fds)
            else:
                await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            return  # the supervisor hung up: the next read says why

    async def receive(self) -> list[EventReceived]:
        """Wait for bytes and return the stream's events in them."""
        data, fds = b"", list[int]()
        try:
            data, fds = await self._stream.receive_fds(READ_SIZE, MAX_FDS)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the session says in which state the supervisor hung up
        except anyio.ClosedResourceError as error:
            raise ConnectionFailed("the connection was closed by another task") from error
        for fd in fds:
            os.set_inheritable(fd, False)
        return self._session.receive(data, fds)

    def result(self) -> Any:
        """Return the answer of the call that is done, or raise its error."""
        return self._session.result()
