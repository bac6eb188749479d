"""The supervisor's connection to one launcher process.

Owns the socket. Must never lose or reorder a message, nor block on one.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import trio

from wherryd.launcher import wire
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


class Link:
    """A connection after the hello. Sending never blocks: what the launcher does not take yet waits here.

    `path` is the launcher's socket. `drains`: it is of another release, or not the current one; it keeps what
    it holds, and is asked for no start. `listed`: it has told all that it held when we came. `lost`: it died,
    or hung up.
    """

    def __init__(self, sock: socket.socket, path: Path, nursery: trio.Nursery, hello: Hello) -> None:
        self.path = path
        self.version = hello.version
        self.since = hello.since
        self.pid = hello.pid
        self.drains = False
        self.listed = trio.Event()
        self.lost = False
        self.retiring = False
        self._sock = sock
        self._nursery = nursery
        self._waiting: list[tuple[bytes, list[int]]] = []

    def say(self, *message: Any) -> None:
        """Send a message."""
        self.send(wire.pack(*message))

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send a packed message. A launcher that is gone is told by the end of `messages`, not here."""
        if self.lost:
            return
        if self._waiting or not self._try(data, fds):
            self._waiting.append((data, [os.dup(fd) for fd in fds]))
            if len(self._waiting) == 1:
                start_soon(self._nursery, self._flush)

    def _try(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            wire.send(self._sock, data, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True
        return True

    async def _flush(self) -> None:
        while self._waiting:
            await trio.lowlevel.wait_writable(self._sock)
            while self._waiting and self._try(*self._waiting[0]):
                for fd in self._waiting.pop(0)[1]:
                    os.close(fd)
        if self.retiring:
            self._shut()

    def retire(self) -> None:
        """Say goodbye, after all that was sent: a launcher that holds nothing ends, and `messages` end."""
        if not self.retiring:
            self.retiring = True
            if not self._waiting:
                self._shut()

    def _shut(self) -> None:
        if not self.lost:
            self._sock.shutdown(socket.SHUT_WR)

    async def messages(self) -> AsyncIterator[tuple[tuple[Any, ...], list[int]]]:
        """Yield messages with their descriptors until the launcher is gone.

        Without any when there was none left for them: the launcher has its own still.
        """
        while True:
            try:
                received = wire.receive(self._sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            except ConnectionResetError:
                return
            except wire.Cut as cut:
                if cut.message is None:
                    return
                yield cut.message, []
                continue
            if received is None:
                return
            yield received

    def close(self) -> None:
        """Hang up."""
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self.lost = True
        self._sock.close()


class Hello:
    """What a launcher says first. `since`: from which version on its holding half is as in its own."""

    def __init__(self, version: int, pid: int, since: int = 0, *_more: Any) -> None:
        self.version = version
        self.pid = pid
        self.since = since
