"""The supervisor's connection to one launcher process.

Owns the socket. Must never lose or reorder a message, nor block on one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from wherryd.launcher import wire
from wherryd.launcher.start import LauncherUnavailable, connect, start

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_HELLO_TIMEOUT = 10.0  # seconds; a launcher never waits for anything, so a silent one is broken


class Link:
    """A connection after the hello. Sending never blocks: what the launcher does not take yet waits here.

    `found`: the launcher was there before; it may hold what another supervisor started.
    """

    def __init__(self, sock: socket.socket, pid: int, nursery: trio.Nursery, *, found: bool) -> None:
        self.pid = pid
        self.found = found
        self._sock = sock
        self._nursery = nursery
        self._waiting: list[tuple[bytes, list[int]]] = []

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send a packed message. A launcher that is gone is told by the end of `messages`, not here."""
        if self._waiting or not self._try(data, fds):
            self._waiting.append((data, [os.dup(fd) for fd in fds]))
            if len(self._waiting) == 1:
                self._nursery.start_soon(self._flush)

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

    async def messages(self) -> AsyncIterator[tuple[tuple[Any, ...], list[int]]]:
        """Yield messages with their descriptors until the launcher is gone."""
        while True:
            try:
                received = wire.receive(self._sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            except ConnectionResetError:
                return
            if received is None:
                return
            yield received

    def close(self) -> None:
        """Hang up."""
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self._sock.close()


async def open_link(run_dir: Path, nursery: trio.Nursery) -> Link:
    """Return a link to the living launcher of `run_dir`, or to a new one. Raises LauncherUnavailable."""
    sock = connect(run_dir)
    hello = await _hello(sock) if sock is not None else None
    found = hello is not None
    if sock is None or hello is None:
        # None, or one that was about to end when we came.
        sock = await trio.to_thread.run_sync(start, run_dir)
        hello = await _hello(sock)
    if hello is None:
        raise LauncherUnavailable("the launcher ended as soon as it was started: see the lines above")
    _, version, pid = hello
    if version != wire.VERSION:
        sock.close()
        raise LauncherUnavailable(
            f"launcher {pid} is of another release and holds containers: stop them with that release first"
        )
    return Link(sock, pid, nursery, found=found)


async def _hello(sock: socket.socket) -> tuple[Any, ...] | None:
    try:
        with trio.fail_after(_HELLO_TIMEOUT):
            await trio.lowlevel.wait_readable(sock)
        received = wire.receive(sock)
    except trio.TooSlowError as error:
        sock.close()
        raise LauncherUnavailable("the launcher does not answer: is it stopped (SIGSTOP)?") from error
    except ConnectionResetError:
        received = None
    except BaseException:
        sock.close()
        raise
    if received is None:
        sock.close()
        return None
    return received[0]
