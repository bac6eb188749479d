"""A worker as the launcher sees it, and what it is given to do. Values, and who owns which descriptor."""

from __future__ import annotations

import math
import os
import time

from wherryd.launcher import worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from wherryd.launcher.entry import Entry


class Order:
    """A process to start: a packed plan, and the descriptors that go with it, ours to close.

    `needs` are the capabilities that the process is to have, as bits. `promise` is of a container's first
    process only: the root's `former` and `successor`.
    """

    def __init__(
        self,
        entry: Entry,
        plan: bytes,
        fds: list[int],
        needs: int,
        promise: tuple[str | None, str | None] | None = None,
    ) -> None:
        self.entry = entry
        self.needs = needs
        self.plan = plan
        self.fds = fds
        self.promise = promise
        self.since = time.monotonic()

    def close(self) -> None:
        """Close our copies of the descriptors."""
        for fd in self.fds:
            os.close(fd)


class Hand:
    """A worker as the launcher sees it."""

    def __init__(self, pid: int, pidfd: int, sock: _socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.sock = sock
        self.bounds: int | None = None
        """The capabilities that it has kept for its children, as bits; None before its first order."""
        self.busy: Entry | None = None
        self.idle = False
        self.spent = 0.0
        """Since when it has been free without a kit; 0 if it has one, or is not free."""
        self.promise: str | None = None
        """The directory of its kit's root, made or to be made."""
        self.preparing = False
        self.next: Order | None = None
        """What waits until it has prepared."""
        self.ready = 0.0
        """Since when it has been free with a kit that has a root; 0 if it has none, or is not free."""

    def suits(self, order: Order) -> bool:
        """Say whether it can do it."""
        return self.bounds is None or not order.needs & ~self.bounds

    @property
    def width(self) -> float:
        """How many capabilities it has kept."""
        return math.inf if self.bounds is None else self.bounds.bit_count()

    def rest(self, word: bytes) -> None:
        """Take note that it is free."""
        now = time.monotonic()
        self.idle = True
        self.spent = now if word == worker.SPENT else 0.0
        self.ready = now if word == worker.READY else 0.0

    def work(self, entry: Entry | None = None) -> None:
        """Take note that it is not."""
        self.busy = entry
        self.idle, self.spent, self.ready = False, 0.0, 0.0
