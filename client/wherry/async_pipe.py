"""Our ends of a command's pipes, for the async client. Each owns its descriptor."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import anyio

if TYPE_CHECKING:
    from wherry.streams import Streams

_CHUNK = 1 << 16


class _Pipe:
    """A non-blocking descriptor, None once it is closed."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd: int | None = fd

    @classmethod
    def of(cls, streams: Streams, number: int) -> Self | None:
        """Take over our end of a stream, if there is one."""
        fd = streams.ours.pop(number, None)
        return None if fd is None else cls(fd)

    def close(self) -> None:
        """Close it; not while another task waits for it."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)

    def open_fd(self) -> int:
        """Return the descriptor. Raises anyio.ClosedResourceError."""
        if self.fd is None:
            raise anyio.ClosedResourceError
        return self.fd


class AsyncReader(_Pipe):
    """What a command prints: iterate over it for pieces, as they come."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return the next piece, b"" at the end."""
        while True:
            await anyio.wait_readable(self.open_fd())
            data = self.receive_nowait(max_bytes)
            if data is not None:
                return data

    def receive_nowait(self, max_bytes: int = _CHUNK) -> bytes | None:
        """Return what is there, b"" at the end, None when there is nothing yet."""
        try:
            return os.read(self.open_fd(), max_bytes)
        except BlockingIOError:
            return None
        except OSError:
            return b""  # EIO: nobody has the terminal open any more

    async def gather(self, into: bytearray) -> None:
        """Add everything up to the end to `into`."""
        async for data in self:
            into += data

    def gather_nowait(self, into: bytearray) -> None:
        """Add everything that is there to `into`."""
        while data := self.receive_nowait():
            into += data


class AsyncWriter(_Pipe):
    """A command's standard input."""

    async def send(self, data: bytes) -> None:
        """Write everything. Raises BrokenPipeError when the command reads no more."""
        left = memoryview(data)
        while left:
            await anyio.wait_writable(self.open_fd())
            try:
                left = left[os.write(self.open_fd(), left[:_CHUNK]) :]
            except BlockingIOError:
                continue

    async def feed(self, data: bytes) -> None:
        """Write everything, and then give it end of file; a command may end before it has read its input."""
        with suppress(BrokenPipeError):
            await self.send(data)
        self.close()
