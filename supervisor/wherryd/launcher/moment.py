"""The moment in which a command may end that has hardly begun: the launcher is not woken by its beginning.

A short command costs less when nobody looks at it on its way. Its worker's words are read when that is free
again: a core has time then, and the end finds us ready. Owns which starts are under way. Must never keep
anything else waiting: a container's start, an order that waits for a worker.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.launcher.entry import Entry

_MOMENT = 0.002
"""Seconds from the order. Most commands that end soon need less than one of these two milliseconds."""


class Moment:
    """Starts under way: the brief ones, since when, and the others.

    Whoever wants to connect to `listener` wakes always, and children that end, of which `signals` tells.
    """

    def __init__(self, listener: int, signals: int) -> None:
        self._fds = listener, signals
        self._signals = signals
        self._brief: dict[Entry, float] = {}
        self._others: set[Entry] = set()

    def begin(self, entry: Entry) -> None:
        """Take note of a start."""
        if entry.brief:
            self._brief[entry] = time.monotonic()
        else:
            self._others.add(entry)

    def left(self, entry: Entry) -> float:
        """Return the seconds that are left of a start's moment."""
        since = self._brief.get(entry)
        return 0.0 if since is None else max(0.0, since + _MOMENT - time.monotonic())

    def end(self, entry: Entry) -> None:
        """Take note that the supervisor is told how it went."""
        self._brief.pop(entry, None)
        self._others.discard(entry)

    def wait(self, *others: int) -> bool:
        """Wait until the moment is over, or something happens; not if a start that is not brief is on.

        `others` are more descriptors that wake. Says whether a child has ended.
        """
        if not self._brief or self._others:
            return False
        left = self.left(next(iter(self._brief)))
        if left > 0:
            poll = select.poll()
            for fd in (*self._fds, *others):
                poll.register(fd, select.POLLIN)
            return any(fd == self._signals for fd, _ in poll.poll(left * 1000))
        return False
