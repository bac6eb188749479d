"""Who reads a log, and how far each has come: what rotation goes by before it takes a file away.

Owns the rule whom to wait for. A reader is moved on by the trio thread, and looked at by the pump's: his
place is one assignment, the set of all is replaced, never changed.
"""

from __future__ import annotations

import time

PATIENCE = 0.5
"""Seconds for which a reader may stand still and is waited for: longer, and he has stopped reading."""

BEGINNING = 2.0
"""The same for one who has read nothing yet: he may be about to, on a machine that is busy starting him."""

EPISODE = 0.25
"""Seconds without a question after which the next one begins to count anew."""


RETURN = 2.0
"""Seconds for which another supervisor's readers are waited for: they look for us four times a second."""


class Follower:
    """One reader. `place` is up to where he has what he wants."""

    def __init__(self, place: int) -> None:
        self.place = place
        self._seen: int | None = None
        self._began = False
        self._since = 0.0
        self._asked = 0.0
        self._left = False

    def moves(self, now: float) -> bool:
        """Say whether he is worth waiting for; to be asked again and again meanwhile."""
        fresh, self._asked = now - self._asked > EPISODE, now
        if self.place != self._seen:
            self._began = self._seen is not None
            self._seen, self._since, self._left = self.place, now, False
            return True
        if fresh and not self._left:
            self._since = now
        self._left = self._left or now - self._since > (PATIENCE if self._began else BEGINNING)
        return not self._left


class Followers:
    """The readers of one log."""

    def __init__(self) -> None:
        self._all: tuple[Follower, ...] = ()
        self._expected_until = self._awaited_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._all)

    def join(self, place: int) -> Follower:
        """Take in a reader who wants what comes after a place."""
        follower = Follower(place)
        self._all = (*self._all, follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Let a reader go."""
        self._all = tuple([each for each in self._all if each is not follower])

    def oldest(self) -> int | None:
        """Return the place of the one that is furthest behind."""
        return min([each.place for each in self._all], default=None)

    def expect(self, seconds: float) -> None:
        """Count on readers that come back within a time, and wait for them at first."""
        now = time.monotonic()
        self._expected_until, self._awaited_until = now + seconds, now + RETURN

    def want(self, end: int, now: float) -> bool:
        """Say whether somebody has still to read what is before a place."""
        return now < self._expected_until or any(each.place < end for each in self._all)

    def worth_waiting_for(self, end: int, now: float) -> bool:
        """Say whether somebody who has still to read what is before a place goes on reading."""
        # Each one is to be asked.
        moving = [each.moves(now) for each in self._all if each.place < end]
        return now < self._awaited_until or any(moving)
