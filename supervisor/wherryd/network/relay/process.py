"""The relay process: moves what the kernel's rules cannot, from published ports to containers.

    question   ["serve", id, protocol, address, port]   with a listening socket, or a bound one of UDP
               ["drop", id]                             and every connection that came by it

That is what comes by IPv6 for a container that has none, and what comes to ::1. TCP is spliced through
pipes, so that no byte is copied into this process. It ends when its socket does. Must never wait for one
connection only.
"""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

from wherryd.kernel.process import set_title
from wherryd.launcher import wire
from wherryd.network.relay.loop import Loop
from wherryd.network.relay.tcp import Listener
from wherryd.network.relay.udp import Bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.network.relay.loop import Entry

_KINDS: dict[str, Callable[[socket.socket, tuple[str, int], Loop], Entry]] = {"tcp": Listener, "udp": Bound}


def main(argument: str) -> None:
    """Serve until the supervisor hangs up."""
    set_title("wherryd: relay")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(fileno=int(argument)) as control:
        control.setblocking(False)
        loop = Loop()
        loop.add(Control(control, loop))
        loop.run()


class Control:
    """The supervisor's end of the conversation."""

    def __init__(self, sock: socket.socket, loop: Loop) -> None:
        self._sock = sock
        self._loop = loop
        self._entries: dict[int, Entry] = {}

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch."""
        return (self._sock.fileno(),)

    def handle(self, events: int) -> None:
        """Take what the supervisor asks for."""
        del events
        while True:
            try:
                received = wire.receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                received = None
            if received is None:
                self._loop.stop()
                return
            (op, number, *rest), fds = received
            if op == "serve":
                protocol, address, port = rest
                self._serve(number, protocol, (address, port), socket.socket(fileno=fds[0]))
            elif number in self._entries:
                self._entries.pop(number).close()

    def _serve(self, number: int, protocol: str, target: tuple[str, int], sock: socket.socket) -> None:
        sock.setblocking(False)
        entry = self._entries[number] = _KINDS[protocol](sock, target, self._loop)
        self._loop.add(entry)

    def close(self) -> None:
        """It goes with the process."""
