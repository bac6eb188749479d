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

from wherryd.logs.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from wherryd.logs.pump import LogPump
    from wherryd.logs.source import Source


class Log:
    """A container's log. `trouble` is why its bytes cannot be written now, or None.

    `on_trouble` is called in the trio thread when trouble changes, `on_notice` with a line about
    what somebody did to the files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trouble: str | None = None
        self.on_trouble: Callable[[str | None], None] | None = None
        self.on_notice: Callable[[str], None] | None = None
        self.changes = 0
        self.closed = False
        # From a run's begin until it is known, after its end, that no other follows: followers stay.
        self.continues = False
        # The pump's: what it still reads from, and where it writes.
        self.sources: set[Source] = set()
        self.segment = Segment(directory)
        self.pump: LogPump | None = None
        # Read by the pump: it wakes the trio thread only when this is not 0.
        self.listeners = 0
        self._lot = trio.lowlevel.ParkingLot()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a container's log, made if missing and mended if a crash of the machine left it torn.

        Holds no descriptor until a container runs.
        Raises OSError when it cannot be made, or is not a regular file.
        """
        log = cls(directory)
        log.prepare()
        return log

    def prepare(self) -> None:
        """Make the files ready for a run: as `open`, on a log that may have had runs before."""
        self.closed = False
        # Not `self.segment`: that is the pump's, which opens it when the first byte comes.
        files = Segment(self.directory)
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

    def size(self) -> int:
        """Return how many bytes the log holds; 0 when somebody removed it."""
        try:
            return os.lstat(self.segment.path).st_size
        except FileNotFoundError:
            return 0

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

    def detach_stragglers(self) -> None:
        """Make what the pipes hold now the last of this run, though somebody keeps them open.

        Those bytes are still moved, however long a full disk makes that take.
        """
        if self.pump is not None and not self.finished:
            self.pump.give_up(self)

    def close(self) -> None:
        """Let go of all descriptors, moved or not, and end all followers. The files stay."""
        self.closed = True
        self.continues = False
        if self.pump is not None and self.sources:
            self.pump.drop(self)
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self.changes += 1
        self._lot.unpark_all()

    def tell_trouble(self, trouble: str | None) -> None:
        """Report a change of trouble to whom it concerns."""
        self.trouble = trouble
        if self.on_trouble is not None:
            self.on_trouble(trouble)

    def tell_notice(self, notice: str) -> None:
        """Report what somebody did to the files."""
        if self.on_notice is not None:
            self.on_notice(notice)
