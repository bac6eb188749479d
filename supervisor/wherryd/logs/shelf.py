"""The full pieces of a log that are kept: how many, and which of them may go.

There are at most `max_file`, the one that is written to among them. More are kept for a moment for readers
who are behind: at most EXTRA_FILES, EXTRA_BYTES in all. A reader who has not read what is next to go, and
goes on reading, is waited for; one who stands still is not. He is told what he missed.

Whoever follows the log by its name from outside (`tail -F`) is waited for in the same way, until he has let
go of the piece that was put aside last, and a moment longer: he would not find the one after it, or not read
it.

Owns the removal of pieces. Used by the one thread that writes the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd.kernel import failpoints
from wherryd.logs import rotation
from wherryd.logs.pieces import kept_places

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.logs.followers import Followers
    from wherryd.logs.pieces import Piece

EXTRA_FILES = 64
EXTRA_BYTES = 8 << 20
"""What readers who are behind may cost beyond the limits of the log."""

NAME_PATIENCE = 1.0
"""Seconds for which one who follows by name is waited for, from when it matters; then he does not follow."""

NAME_TURN = 0.005
"""Seconds from when he has let go of a piece in which the next one keeps the name. GNU tail, told late of the
link that a piece was put aside by, opens the next one then, and reads it when it is told of its name: were
that another's by then, it would go on there, and leave out a whole piece. What a container wrote last waits
as long, piece by piece, and is to be there soon after its end."""


class Shelf:
    """The full pieces in one log's directory. `crowded`: there are more than there should be."""

    def __init__(self, directory: Path, max_file: int, followers: Followers) -> None:
        self._directory = directory
        self._max_file = max_file
        self._followers = followers
        self.crowded = False
        self._places: list[int] | None = None
        self._left: Piece | None = None
        self._left_at = 0.0
        self._let_go_at = 0.0

    def make_room(self, base: int, now: float) -> bool:
        """Remove what has to go before the piece from `base` on is put aside; say whether that can be now."""
        if self._is_followed_by_name(now):
            return False
        return self._thin(max(self._max_file - 2, 0), base, now)

    def bound(self, max_file: int) -> None:
        """Have another number of pieces hold from the next look on."""
        self._max_file = max_file

    def put(self, piece: Piece, now: float) -> None:
        """Take in a piece that was put aside."""
        self._known(piece.base).append(piece.base)
        if rotation.opened_by_others(piece.data):
            self._left, self._left_at, self._let_go_at = piece, 0.0, 0.0
        self.tidy(piece.end(), now)

    def tidy(self, end: int, now: float) -> None:
        """Remove what was kept for readers that have gone on; `end` is where the full pieces end."""
        self._thin(self._max_file - 1, end, now)
        self.crowded = len(self._known(end)) > self._max_file - 1

    def let_go(self) -> None:
        """Hold nothing: the log is not written to for a while."""
        self._left = None
        self._places = None

    def _is_followed_by_name(self, now: float) -> bool:
        left = self._left
        if left is None:
            return False
        self._left_at = self._left_at or now
        if self._let_go_at:
            waits = now - self._let_go_at < NAME_TURN
        else:
            waits = now - self._left_at < NAME_PATIENCE
            if waits and not rotation.opened_by_others(left.data):
                self._let_go_at = now
        if not waits:
            self._left = None
        return waits

    def _known(self, before: int) -> list[int]:
        if self._places is None:
            self._places = [place for place in kept_places(self._directory) if place < before]
        return self._places

    def _thin(self, target: int, end: int, now: float) -> bool:
        """Remove the oldest until `target` are left; say no when a reader is to be waited for."""
        places = self._known(end)
        while len(places) > target:
            oldest, after = places[0], places[1] if len(places) > 1 else end
            if self._followers.want(after, now):
                extra = places[len(places) - target] if target else end
                if len(places) - target <= EXTRA_FILES and extra - oldest <= EXTRA_BYTES:
                    return True
                if self._followers.worth_waiting_for(after, now):
                    return False
            rotation.remove(self._directory, oldest)
            failpoints.hit("rotate.removed")
            del places[0]
        return True
