"""The sending half of a connection: frames out whole and in order, from tasks and from sync code.

Owns what the client has not taken yet. Must never block the event loop on a client.
"""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLD_SECONDS = 0.005
"""How long an event that nobody waits for may wait for company: waking a client costs more than a frame."""


class Sender:
    """Sends on a socket, which stays the session's. `over`: the client has hung up, or was hung up on."""

    def __init__(self, sock: socket.socket) -> None:
        self.over = False
        self._sock = sock
        self._sending = trio.StrictFIFOLock()
        self._held = b""

    async def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send a frame; waits while the client does not read."""
        await acquire(self._sending)
        try:
            data, self._held = self._held + data, b""
            rights = _rights(fds)
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[self._sock.sendmsg([rest], rights) :]
                    rights = []
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sock)
        finally:
            self._sending.release()

    async def caught_up(self) -> None:
        """Wait for a client that does not read: sync code could not."""
        if self._sending.locked():
            await self.send(b"")

    def send_at_once(self, data: bytes, fds: Sequence[int], nursery: trio.Nursery) -> None:
        """Send a frame from sync code; what the client does not take waits for it in a task."""
        if self.over:
            return
        if self._sending.locked():
            sent = 0
        else:
            data, self._held = self._held + data, b""
            sent = self._try(data, fds)
        if sent == 0 and data:
            start_soon(nursery, self._send_later, data, *map(os.dup, fds))
        elif sent < len(data):
            self._held = data[sent:]
            start_soon(nursery, self._send_later, b"")

    def _try(self, data: bytes, fds: Sequence[int]) -> int:
        try:
            return self._sock.sendmsg([data], _rights(fds))
        except BlockingIOError:
            return 0
        except OSError as error:
            # The session reads the same in a moment, and ends.
            journal.debug("a client hung up", error=error)
            return len(data)

    async def _send_later(self, data: bytes, *fds: int) -> None:
        try:
            await self.send(data, fds)
        except OSError as error:
            journal.debug("a client hung up", error=error)
        finally:
            for fd in fds:
                os.close(fd)

    def hold(self, data: bytes, nursery: trio.Nursery) -> None:
        """Send a frame with the next one, or alone after HOLD_SECONDS."""
        self._held += data
        start_soon(nursery, self._send_held)

    async def _send_held(self) -> None:
        await trio.sleep(HOLD_SECONDS)
        if self._held:
            await self._send_later(b"")


async def acquire(lock: trio.Semaphore | trio.StrictFIFOLock) -> None:
    """Acquire it; without a turn of the event loop when it is free."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


def _rights(fds: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
