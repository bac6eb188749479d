"""What a packet through a published port costs the processor, each way.

The kernel takes it all the way, through every rule, to the socket that receives it within the call that sends
it: the processor's time of that call is the same on a machine with other things to do, unlike any clock's.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.netns import Place

PORT = 9000
BATCH, BATCHES = 100, 30
_SO_RCVBUFFORCE = 33


def costs(neighbour: Place, address: str, container: Place) -> tuple[float, float]:
    """Return the seconds of a packet from a neighbour to a container's UDP port PORT, and of one back."""
    with ExitStack() as stack:
        outside, inside = (
            stack.enter_context(place.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for place in (neighbour, container)
        )
        for sock in (outside, inside):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        inside.bind(("", PORT))
        outside.connect((address, PORT))
        outside.send(b"")
        inside.connect(inside.recvfrom(1)[1])
        return _cost(outside, inside), _cost(inside, outside)


def _cost(sender: socket.socket, receiver: socket.socket) -> float:
    found: list[float] = []
    for _ in range(BATCHES):
        before = time.thread_time()
        for _ in range(BATCH):
            sender.send(b"x" * 64)
        found.append((time.thread_time() - before) / BATCH)
        for _ in range(BATCH):  # every one is there: none was dropped on the way
            receiver.recv(100)
    return statistics.quantiles(found, n=10)[0]
