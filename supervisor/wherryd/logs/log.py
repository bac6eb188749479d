"""One container's log, as the rest of the supervisor holds it.

Owns what is known about the log: whether its run is over, whether writing is in trouble, who waits
for a change. Never touches the bytes. Everything here is for the trio thread, except the few things
marked as the pump's: those are single assignments that need no lock.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import trio

from wherry_protocol.log_options import LogDropped
from wherryd.logs.followers import Followers
from wherryd.logs.limits import LogLimits
from wherryd.logs.packing import SMALLEST
from wherryd.logs.pieces import Piece, data_path, kept_places, open_current, open_kept
from wherryd.logs.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from wherryd.logs.pump import LogPump
    from wherryd.logs.source import Source


class Log:
    """A container's log. `trouble` is why its bytes cannot be written now, or None.

    `on_trouble` is called in the trio thread when trouble changes, `on_notice` with a line about
    what somebody did to the files, `on_full` when there is a full piece to be packed, `on_dropped` with how
    many bytes and lines were dropped when the log is written again.
    """

    def __init__(self, directory: Path, limits: LogLimits = LogLimits()) -> None:  # noqa: B008 - it is frozen
        self.directory = directory
        self.limits = limits
        self.trouble: str | None = None
        self.on_trouble: Callable[[str | None], None] | None = None
        self.on_notice: Callable[[str], None] | None = None
        self.on_full: Callable[[], None] | None = None
        self.on_dropped: Callable[[int, int], None] | None = None
        # What the log says of bytes and lines that were dropped.
        self.told_dropped = (0, 0)
        self.changes = 0
        self.closed = False
        # From a run's begin until it is known, after its end, that no other follows: followers stay.
        self.continues = False
        # Where a run began that prints nothing: it ended before its pipes got here, and they were empty.
        self.silent_at: int | None = None
        # The pump's: what it still reads from, and where it writes.
        self.sources: set[Source] = set()
        self.followers = Followers()
        self.segment = Segment(directory, limits, self.followers)
        self.turns_told = 0
        self.dropped_now: list[tuple[int, int]] = []
        self.pump: LogPump | None = None
        # Read by the pump: it wakes the trio thread only when this is not 0.
        self.listeners = 0
        # What was kept of a removed log for those who read it.
        self.legacy: tuple[Piece, ...] = ()
        self._lot = trio.lowlevel.ParkingLot()

    @classmethod
    def open(cls, directory: Path, limits: LogLimits = LogLimits()) -> Self:  # noqa: B008 - it is frozen
        """Open a container's log, made if missing and mended if a crash of the machine left it torn.

        Holds no descriptor until a container runs.
        Raises OSError when it cannot be made, or is not a regular file.
        """
        log = cls(directory, limits)
        log.prepare()
        return log

    def prepare(self) -> None:
        """Make the files ready for a run: as `open`, on a log that may have had runs before."""
        self.closed = False
        self.silent_at = None
        # Not `self.segment`: that is the pump's, which opens it when the first byte comes.
        files = Segment(self.directory, self.limits, self.followers)
        try:
            files.open()
        finally:
            files.close()

    @property
    def over(self) -> bool:
        """Whether nothing more is to come: the run has ended, and no other is to follow at once."""
        return self.finished and (self.closed or not self.continues)

    @property
    def finished(self) -> bool:
        """Whether the current run's streams have all ended (or none was attached, or it is closed)."""
        return self.closed or not self.sources

    def end(self) -> int:
        """Return the place after the log's last byte, also of what somebody has removed since."""
        if self.silent_at is not None:
            return self.silent_at
        piece = self.piece()
        return self.segment.end if piece is None else max(piece.end(), self.segment.end)

    def piece(self) -> Piece | None:
        """Return the piece that is written to, or was last; None when somebody removed it."""
        if self.segment.current is None and self.legacy:
            return self.legacy[-1]
        return self.segment.current or self._opened()

    def _opened(self) -> Piece | None:
        while True:
            turns, piece = self.segment.turns, open_current(self.directory)
            # If the pump has opened it meanwhile, ours may be the bytes of one and the index of another.
            if self.segment.current is not None or self.segment.turns == turns:
                return self.segment.current or piece

    async def wait_drained(self) -> None:
        """Wait until every stream of the current run is at its end and all bytes are in the file."""
        await trio.lowlevel.checkpoint()
        with self.listening():
            while not self.finished:
                await self.wait_changed(self.changes)

    async def wait_changed(self, seen: int) -> None:
        """Wait until `changes` is no longer `seen`; only inside `listening()`."""
        while self.changes == seen:
            await self._lot.park()

    @contextmanager
    def listening(self) -> Generator[None]:
        """Have the pump tell of every change, meanwhile."""
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    def bound(self, limits: LogLimits) -> None:
        """Have other limits hold from now on, for the run of now, too."""
        self.limits = limits
        if self.pump is not None:
            self.pump.bound(self, limits)
        else:
            self.segment.bound(limits)

    def detach_stragglers(self) -> None:
        """Make what the pipes hold now the last of this run, though somebody keeps them open.

        Those bytes are still moved, however long a full disk makes that take.
        """
        if self.pump is not None and not self.finished:
            self.pump.give_up(self)

    def bequeath(self) -> None:
        """Keep what there is for those who read it, open: the files are about to go."""
        oldest = self.followers.oldest()
        last = None if oldest is None else self.piece()
        if oldest is None or last is None or oldest >= last.base:
            return
        places = [place for place in kept_places(self.directory) if place < last.base]
        ends = [*places, last.base][1:]
        wanted = [place for place, end in zip(places, ends, strict=True) if end > oldest]
        kept = [open_kept(self.directory, place) for place in wanted]
        self.legacy = (*[piece for piece in kept if piece is not None], last)

    def tidy(self) -> None:
        """Let go of what was kept for readers only, and is so no more."""
        if not self.followers:
            self.legacy = ()
        if self.segment.shelf.crowded and self.pump is not None:
            self.pump.tidy(self)

    def interrupted(self) -> bool:
        """Say whether a crash has broken off its way into another file; a run's begin mends that."""
        try:
            return os.lstat(data_path(self.directory)).st_nlink > 1
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of all descriptors, moved or not, and end all followers. The files stay."""
        self.closed = True
        self.continues = False
        if self.pump is not None and self.sources:
            self.pump.drop(self)
        self.notify()

    def forsake(self) -> None:
        """Close it for good, and tell nobody of anything any more: who was told held it, and it him."""
        self.close()
        self.on_trouble = self.on_notice = self.on_full = self.on_dropped = None

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self.changes += 1
        self._lot.unpark_all()

    def tell_trouble(self, trouble: str | None) -> None:
        """Report a change of trouble to whom it concerns."""
        self.trouble = trouble
        if self.on_trouble is not None:
            self.on_trouble(trouble)

    @property
    def packs(self) -> bool:
        """Whether its full pieces are worth packing, and are to be."""
        limits = self.limits
        return limits.compress and limits.max_size >= SMALLEST and limits.max_file > 1

    @property
    def dropped(self) -> LogDropped:
        """What was dropped so far, also of what the log does not say yet."""
        count, lines = self.told_dropped
        for overflow in [each.overflow for each in tuple(self.sources)]:
            if overflow is not None:
                count, lines = count + overflow.bytes, lines + overflow.lines
        return LogDropped(bytes=count, lines=lines)

    def tell_dropped(self, count: int, lines: int) -> None:
        """Report that the log is written again, and what it has not."""
        self.told_dropped = self.told_dropped[0] + count, self.told_dropped[1] + lines
        if self.on_dropped is not None:
            self.on_dropped(count, lines)

    def tell_full(self) -> None:
        """Report that there is a full piece."""
        if self.on_full is not None:
            self.on_full()

    def tell_notice(self, notice: str) -> None:
        """Report what somebody did to the files."""
        if self.on_notice is not None:
            self.on_notice(notice)
