"""Reading and following a log.

Owns how far a reader has come. Never blocks the trio loop on a disk, and never slows the pump: a follower
that does not read is simply behind. When the piece with what he is to read next has gone, he is told how much
of it he missed, and goes on with the oldest there is.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import KernelFailure
from wherry_protocol.log_options import LogGap
from wherryd.logs.index import COUNT, DROPPED, RECORD_SIZE, STDERR, STDOUT, Index, unpack
from wherryd.logs.locate import BLOCK, RECORDS, Pieces, Place, Selection, locate
from wherryd.logs.pieces import pread_nowait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from wherryd.logs.followers import Follower
    from wherryd.logs.log import Log
    from wherryd.logs.pieces import Piece


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one stream (1 stdout or terminal, 2 stderr), taken at `time` (nanoseconds since the epoch)."""

    stream: int
    time: int
    data: bytes
    place: int = field(default=0, compare=False)
    """Where in the log they end: what `after` takes."""
    gap: LogGap | None = None
    """In the place of bytes: what is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reader's hold on a log that may go on, or be removed, before he begins: what he wants is kept."""

    follower: Follower
    piece: Piece | None


async def read(
    log: Log,
    *,
    streams: Collection[int] = (STDOUT, STDERR),
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    follow: bool = False,
    after: int | None = None,
    anchored: bool = False,
    hold: Hold | None = None,
    run_end: Callable[[], int | None] | None = None,
) -> AsyncGenerator[Chunk]:
    """Yield what was logged, in its order, in chunks of at most 64 KiB.

    `tail` is how many lines from the end of what is selected; `since` and `until` are nanoseconds since
    the epoch, compared with the time at which a chunk was taken from the container (since <= time < until).
    With `follow` the end comes when the current run is over and no other is to follow (or at `until`); with
    `run_end`, which returns where a run ends once that is known, at the end of that run. Bytes that somebody
    cuts off the file by hand before they are read are not seen. To be closed with `contextlib.aclosing`.
    Who has read up to the place `after` gets what follows, and is told of what is not there any more.
    When `anchored`, the first chunk is an empty one at the place where reading begins.
    `hold` was made before, at the place `after`; it is ours from here on.
    Raises KernelFailure when the files cannot be read; a log that was removed is empty.
    """
    selection = Selection(streams=frozenset(streams), since=since, until=until)
    follower = hold.follower if hold is not None else log.followers.join(after or 0)
    reading = _Reading(log, selection, follower, hold.piece if hold is not None else None)
    try:
        with log.listening() if follow else nullcontext():
            await reading.begin(tail, after, ends=not follow)
            if anchored:
                yield Chunk(STDOUT, time.time_ns(), b"", reading.place)
            while True:
                seen, limit = log.changes, run_end() if run_end is not None else None
                over = limit is not None or (log.over if run_end is None else log.finished)
                async with aclosing(reading.forward(limit)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if over or not follow or not await _changed(log, seen, until):
                    return
    except OSError as error:
        path = str(error.filename or log.segment.path)
        raise KernelFailure(f"log {path}: {error.strerror}", errno=error.errno, path=path) from error
    finally:
        log.followers.leave(follower)
        log.tidy()


async def _changed(log: Log, seen: int, until: int | None) -> bool:
    """Wait for a change; return whether it came before `until`."""
    left = math.inf if until is None else max((until - time.time_ns()) / 1e9, 0)
    with trio.move_on_after(left):
        await log.wait_changed(seen)
        return True
    return False


class _Reading:
    """A place in a log that only moves forward, and the piece that it is in."""

    def __init__(self, log: Log, selection: Selection, follower: Follower, piece: Piece | None) -> None:
        self._log = log
        self._selection = selection
        self._follower = follower
        self._piece = piece
        self._end: int | None = None
        self._number = 0
        self._buffer = b""
        self._buffer_at = 0
        self._dropped = (0, 0)

    @property
    def place(self) -> int:
        """Where in the log it is."""
        return self._follower.place

    async def begin(self, tail: int | None, after: int | None, *, ends: bool) -> None:
        """Find the place to start at."""
        wanted, last = self._selection, self._log.piece()
        if last is None:
            return
        searched = tail is not None or wanted.since is not None or wanted.until is not None
        if searched:
            place = await self._locate(last, tail, after or 0, ends=ends)
            self._follower.place, self._end = place.begin, place.end
        elif after is None and last.base:
            self._follower.place = await trio.to_thread.run_sync(lambda: Pieces(self._log, last).begin)
        elif after is not None:
            # Somebody may have cut it meanwhile, before any of us was there to see.
            self._follower.place = min(after, self._log.end())
        held = self._piece
        # It may have been the last one already, and not the one with what he wants.
        self._piece = held if held is not None and held.base <= self.place else None
        self._turn_to(self._piece)

    async def _locate(self, last: Piece, tail: int | None, begin: int, *, ends: bool) -> Place:
        def find() -> Place:
            pieces = Pieces(self._log, last)
            return locate(pieces, self._selection, tail=tail, begin=min(begin, self._log.end()), ends=ends)

        return await trio.to_thread.run_sync(find)

    async def forward(self, limit: int | None = None) -> AsyncGenerator[Chunk]:
        """Yield what is selected from here to what is the end now, or to `limit`."""
        while True:
            last = self._log.piece()
            piece = self._piece
            if last is not None and (piece is None or (piece is not last and piece.same(last))):
                piece = last if piece is not None or self.place >= last.base else await self._covering(last)
                self._turn_to(piece)
            if piece is None:
                return
            if self.place < piece.base:
                yield self._skip_to(piece.base)
            # Known before its end is: a piece that is not the last one grows no more.
            full = last is not None and piece is not last
            async with aclosing(self._to(piece, self._bound(piece, limit))) as chunks:
                async for chunk in chunks:
                    yield chunk
            if not full or last is None or self.place < piece.end() or self._at_end(limit):
                return
            if piece.resume is not None and self.place < piece.resume:
                yield self._skip_to(piece.resume)
            self._turn_to(last if self.place >= last.base else await self._covering(last))

    def _bound(self, piece: Piece, limit: int | None) -> int:
        return min([piece.end(), *[each for each in (self._end, limit) if each is not None]])

    def _at_end(self, limit: int | None) -> bool:
        return any(each is not None and self.place >= each for each in (self._end, limit))

    async def _to(self, piece: Piece, end: int) -> AsyncGenerator[Chunk]:
        """Yield what is selected from here to a place in a piece."""
        follower = self._follower
        while follower.place < end:
            for stop, stream, when in await self._spans(piece, end):
                if stream & 0xF >= DROPPED:
                    gap = self._gap(stream, when)
                    if gap is not None:
                        yield gap
                    continue
                if not self._selection.wants(stream, when):
                    follower.place = stop
                while follower.place < stop:
                    data = await self._bytes(piece, stop, end)
                    if not data:
                        return
                    # Only when it is the reader's: what is kept for him ends here.
                    place = follower.place + len(data)
                    yield Chunk(stream, when, data, place)
                    follower.place = place
        if follower.place == end == piece.end() and Index(piece.index).count() > self._number + 1:
            for gap in await self._gaps_at_end(piece, end):
                yield gap

    async def _gaps_at_end(self, piece: Piece, end: int) -> list[Chunk]:
        """Return what is missing after the last byte, unless that was told."""
        found: list[Chunk] = []
        data = await _pread(piece.index, RECORDS * RECORD_SIZE, (self._number + 1) * RECORD_SIZE)
        for offset, stream, when in unpack(data, end):
            if offset != end or stream & 0xF < DROPPED:
                break
            self._number += 1
            gap = self._gap(stream, when)
            if gap is not None:
                found.append(gap)
        return found

    def _gap(self, stream: int, when: int) -> Chunk | None:
        """Return what says how much is missing, once both of its records have come by."""
        if stream & 0xF != COUNT:
            self._dropped = (stream & ~DROPPED, when)
            return None
        (of, at), self._dropped = self._dropped, (0, 0)
        if not self._selection.wants(of, at):
            return None
        gap = LogGap(why="dropped", bytes=when, lines=stream >> 4)
        return Chunk(of, at, b"", self.place, gap)

    async def _covering(self, last: Piece) -> Piece:
        """Return the piece with the next byte that there is."""
        while True:
            piece = await trio.to_thread.run_sync(self._look_up, last)
            if piece is not None:
                return piece
            last = self._log.piece() or last

    def _look_up(self, last: Piece) -> Piece | None:
        return Pieces(self._log, last).covering(self.place)

    def _skip_to(self, place: int) -> Chunk:
        """Go on at a place; return what says how much that leaves out."""
        missed = place - self.place
        self._follower.place = place
        gap = LogGap(why="rotated", bytes=missed)
        return Chunk(STDERR, time.time_ns(), b"", place, gap)

    def _turn_to(self, piece: Piece | None) -> None:
        changed = self._piece is not None and piece is not self._piece
        self._piece = piece
        self._buffer = b""
        if piece is not None:
            self._number = Index(piece.index).at_offset(self.place)
        if changed:
            self._log.tidy()

    async def _spans(self, piece: Piece, end: int) -> list[tuple[int, int, int]]:
        """Return (stop, stream, time) of the next spans, which follow each other from here; never none."""
        records = unpack(await _pread(piece.index, (RECORDS + 1) * RECORD_SIZE, self._number * RECORD_SIZE))
        if not records:
            # Somebody removed the index of a log that is not written to any more.
            return [(end, STDOUT, os.fstat(piece.data).st_mtime_ns)]
        bounds = [offset for offset, _, _ in records[1:]]
        if len(records) <= RECORDS:
            bounds.append(end)
        spans: list[tuple[int, int, int]] = []
        for number, (stop, (_, stream, when)) in enumerate(zip(bounds, records, strict=False), self._number):
            self._number = number
            spans.append((min(stop, end), stream, when))
            if stop >= end:
                break
        else:
            self._number += 1
        return spans

    async def _bytes(self, piece: Piece, stop: int, end: int) -> bytes:
        """Return some bytes from here on, at most up to `stop`; none when the file ends before."""
        place = self.place
        within = place - self._buffer_at
        if not 0 <= within < len(self._buffer):
            count = min(BLOCK, end - place)
            await trio.lowlevel.checkpoint()
            data = piece.read_nowait(count, place)
            if data is None:
                data = await trio.to_thread.run_sync(piece.read, count, place)
            self._buffer, self._buffer_at, within = data, place, 0
        return self._buffer[within : within + stop - place]


async def _pread(fd: int, count: int, offset: int) -> bytes:
    """Read at an offset: at once from the page cache, in a worker thread from the disk."""
    await trio.lowlevel.checkpoint()
    data = pread_nowait(fd, count, offset)
    return await trio.to_thread.run_sync(os.pread, fd, count, offset) if data is None else data
