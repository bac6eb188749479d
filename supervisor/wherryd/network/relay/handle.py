"""The supervisor's end of the relay: waits for the first who comes to a port, and has the process take over.

Owns when the process is there: not before somebody comes, and again when it ended. What it serves is what
the reservations keep of IPv6; what the kernel's rules pass on never gets here.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.launcher import wire
from wherryd.tasks import open_nursery, start_soon
from wherryd.workers import worker

if TYPE_CHECKING:
    from collections.abc import Iterable

_MODULE = "wherryd.network.relay.process"
PAUSE = 0.2
"""Seconds before a process that ended by itself gets a successor."""


class _Served:
    """A socket, and where what comes to it goes."""

    def __init__(self, number: int, sock: socket.socket, protocol: str, target: tuple[str, int]) -> None:
        self.number = number
        self.sock = sock
        self.protocol = protocol
        self.target = target
        self.scope = trio.CancelScope()
        self.handed = False


class Relay:
    """The relay of one supervisor. `run` is its task."""

    def __init__(self) -> None:
        self._served: dict[str, list[_Served]] = {}
        self._new, self._to_watch = trio.open_memory_channel[_Served](float("inf"))
        self._wanted = trio.Event()
        self._control: socket.socket | None = None
        self._last = 0

    def serve(self, owner: str, sock: socket.socket, protocol: str, target: tuple[str, int]) -> None:
        """Pass what comes to a socket on to `target`, until `drop`; the socket stays the caller's."""
        self._last += 1
        served = _Served(self._last, sock, protocol, target)
        self._served.setdefault(owner, []).append(served)
        self._new.send_nowait(served)

    def drop(self, owner: str) -> None:
        """Serve an owner's sockets no more; what came by them ends. Before they are closed."""
        for served in self._served.pop(owner, ()):
            served.scope.cancel()
            trio.lowlevel.notify_closing(served.sock)
            if served.handed:
                self._send(wire.pack("drop", served.number))

    async def run(self) -> None:
        """Watch and keep the process, until cancelled."""
        async with open_nursery() as nursery:
            start_soon(nursery, self._keep)
            async for served in self._to_watch:
                start_soon(nursery, self._await_first, served)

    async def _await_first(self, served: _Served) -> None:
        if served.scope.cancel_called:
            return
        with served.scope:
            try:
                await trio.lowlevel.wait_readable(served.sock)
            except trio.ClosedResourceError:
                return
            served.handed = True
            self._wanted.set()
            self._hand(served)

    def _hand(self, served: _Served) -> None:
        if self._control is not None:
            message = wire.pack("serve", served.number, served.protocol, *served.target)
            self._send(message, [served.sock.fileno()])

    def _send(self, message: bytes, fds: Iterable[int] = ()) -> None:
        if self._control is None:
            return
        try:
            wire.send(self._control, message, [*fds])
        except OSError as error:
            # It hangs or is gone: another one takes over what there is now.
            journal.warning("relay does not listen", error=error)
            self._control.shutdown(socket.SHUT_RDWR)

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            await self._live()
            journal.error("relay process ended, starting another")
            await trio.sleep(PAUSE)

    async def _live(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with ours:
            try:
                async with worker(_MODULE, str(theirs.fileno()), data=None, fds=(theirs.fileno(),)):
                    theirs.close()
                    self._control = ours
                    for served in [each for several in self._served.values() for each in several]:
                        if served.handed:
                            self._hand(served)
                    await trio.lowlevel.wait_readable(ours)  # it says nothing: this is its end
            finally:
                self._control = None
                theirs.close()
