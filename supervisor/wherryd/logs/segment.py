"""The piece of a log that is written to: record first, then the bytes; and the next piece when it is full.

Owns the log's files while a container runs. Never holds a log byte: `splice` moves them from the pipe to the
file inside the kernel. Used by one thread at a time; `current` is for everybody to read through.

Somebody may remove, truncate or replace either file while the container runs. That is noticed at the
next move (one stat each), before any byte is taken from the pipe, and writing goes on in a file of
the right name. Places go on, too: what follows has the place that it would have had.
"""

from __future__ import annotations

import os
import time
from errno import ENOSPC
from typing import TYPE_CHECKING

from wherryd.kernel import failpoints
from wherryd.logs import rotation
from wherryd.logs.index import DROPPED, MAX_STEPS, RECORD_SIZE, STDERR, STDOUT, Index, Record, pack_gap
from wherryd.logs.overflow import waiting
from wherryd.logs.pieces import Piece, begin_of, data_path, index_path, open_regular
from wherryd.logs.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.logs.followers import Followers
    from wherryd.logs.limits import LogLimits

TICK = 1_000_000
"""Bytes of one stream that come within this many nanoseconds of a record share it."""

SLICE = 32768
"""Bytes moved by one splice, which holds the pipe's lock: less is more calls, more stops the writer."""

_OURS = os.O_RDWR | os.O_CREAT


class Segment:
    """Where a container's bytes go now.

    `notices` are lines about what somebody did to the files that nobody was told yet. `held` says that what
    is left in the pipe is to wait a moment, for a reader who would lose what makes room for it. `turns`
    counts the pieces that were put aside. `end` is the place after the last byte, 0 if nobody has looked.
    """

    def __init__(self, directory: Path, limits: LogLimits, followers: Followers) -> None:
        self.current: Piece | None = None
        self.notices: list[str] = []
        self.held = False
        self.turns = 0
        self.path = data_path(directory)
        self.shelf = Shelf(directory, limits.max_file, followers)
        self._directory = directory
        self._max_size = limits.max_size
        self._identity: tuple[int, int] | None = None
        self._base = 0
        self.end = 0
        self._count = 0
        self._last: Record | None = None

    def open(self) -> Piece:
        """Open both files, made if missing, and drop index records that cannot be true.

        Raises OSError when a file cannot be opened or is not a regular file.
        """
        data = self._open_data()
        found = os.fstat(data)
        identity, size = (found.st_dev, found.st_ino), found.st_size
        known = self._identity
        try:
            index = open_regular(index_path(self._directory), _OURS)
        except BaseException:
            os.close(data)
            raise
        base = self._base if known == identity else begin_of(self._directory, index)
        piece = Piece(base, data, index)
        if known not in (None, identity):
            self._go_on(piece, size, "was removed or replaced: writing goes on in the file that is there now")
        elif known is not None and base + size < self.end:
            self._go_on(piece, size, f"was cut to {size} bytes: writing goes on from there")
        else:
            self._adopt(piece, size)
        return self._opened

    def bound(self, limits: LogLimits) -> None:
        """Have other limits hold from the next move on."""
        self._max_size = limits.max_size
        self.shelf.bound(limits.max_file)

    def close(self) -> None:
        """Let go of both files, which readers may hold; the next `take` opens them again."""
        self.current = None
        self.shelf.let_go()

    def take(self, pipe: int, stream: int, limit: int) -> int:
        """Move at most `limit` bytes from `pipe` to the end of the log; return how many.

        Less than that, and with `held` set, when a reader is waited for.
        Raises OSError when a file cannot be written: the bytes that were not moved are still in the pipe.
        """
        self.held = False
        self._settle()
        start, noted = self.end, False
        while self.end - start < limit:
            if self._room <= 0:
                # Not before there is something for the next one.
                if not waiting(pipe) or not self._turn(stream):
                    break
                noted = True
            if not noted:
                self._note(stream)
                noted = True
            asked = min(SLICE, limit - (self.end - start), self._room)
            if self._splice(pipe, asked) < asked:
                break
        return self.end - start

    def put(self, stream: int, data: bytes) -> int:
        """Write bytes that are in no pipe any more to the end of the log; return how many. Raises OSError."""
        self.held = False
        self._settle()
        if self._room <= 0 and not self._turn(stream):
            return 0
        self._note(stream)
        some = data[: self._room if self._max_size else None]
        written = os.pwrite(self._opened.data, some, self.end - self._base)
        self.end += written
        return written

    def put_gap(self, stream: int, count: int, lines: int) -> bool:
        """Say that bytes of `stream` are missing here; say whether that can be now. Raises OSError."""
        self.held = False
        self._settle()
        if self._room <= 0 and not self._turn(stream):
            return False
        now = time.time_ns()
        if self._last is None:
            self._append(_successor(None, self.end, stream, now))
        record = _successor(self._last, self.end, DROPPED | stream, now)
        packed = pack_gap(record, count=count, lines=lines)
        if os.pwrite(self._opened.index, packed, self._count * RECORD_SIZE) != len(packed):
            raise OSError(ENOSPC, os.strerror(ENOSPC), index_path(self._directory))
        self._count, self._last = self._count + 2, record
        return True

    def ends_inside_line(self, stream: int) -> bool:
        """Say whether the last byte of a stream in this piece is no end of a line."""
        return self.current is not None and self.current.ends_inside_line(stream)

    @property
    def _opened(self) -> Piece:
        piece = self.current
        assert piece is not None  # noqa: S101 - who asks comes after `_settle`
        return piece

    @property
    def _room(self) -> int:
        return self._max_size - (self.end - self._base) if self._max_size else SLICE

    def _splice(self, pipe: int, limit: int) -> int:
        data, flags = self._opened.data, os.SPLICE_F_NONBLOCK
        try:
            moved = os.splice(pipe, data, limit, offset_dst=self.end - self._base, flags=flags)
        except BlockingIOError:
            moved = 0
        self.end += moved
        return moved

    def _turn(self, stream: int) -> bool:
        """Go on in the next piece; say whether that can be now."""
        old = self._opened
        now = time.monotonic()
        self.held = not self.shelf.make_room(self._base, now)
        if self.held:
            return False
        first = _successor(self._last, self.end, stream, time.time_ns())
        data, index = rotation.turn(self._directory, self._base, first)
        self._take_over(Piece(self.end, data, index), count=1, last=first)
        failpoints.hit("rotate.turned")
        self.shelf.put(old, now)
        self.turns += 1
        return True

    def _open_data(self) -> int:
        data = open_regular(self.path, _OURS)
        if os.fstat(data).st_nlink > 1:
            os.close(data)
            rotation.finish(self._directory)
            data = open_regular(self.path, _OURS)
        return data

    def _settle(self) -> None:
        """Have a piece to go on with, after mending what was done to the data file."""
        if self.current is not None:
            try:
                found = os.lstat(self.path)
            except FileNotFoundError:
                found = None
            if found is not None and (found.st_dev, found.st_ino) == self._identity:
                size = self._base + found.st_size
                if size >= self.end:
                    self.end = size
                    return
        self.open()

    def _go_on(self, piece: Piece, size: int, what: str) -> None:
        """Have what comes next follow, by place, all that there was."""
        former, end = self.current, max(self.end, size)
        base = end - size
        records = self._records_left(piece, size, base)
        index = rotation.new_index(self._directory, records)
        if former is not None and former.identity == piece.identity:
            # Before anybody sees the new piece: the old one ends there.
            former.stop, former.resume = former.base + size, end
        self.end = end
        self._take_over(Piece(base, os.dup(piece.data), index), count=len(records), last=records[-1])
        self._changed(what)

    def _records_left(self, piece: Piece, size: int, base: int) -> list[Record]:
        """Return the records of what is left in a file, which begins at another place from now on."""
        if size == 0:
            return [_successor(self._last, base, STDOUT, time.time_ns())]
        index, old = Index(piece.index), list[Record]()
        if piece.identity == self._identity:
            old = [index.record(number) for number in range(index.usable(piece.base + size))]
            old = [each for each in old if each.stream in (STDOUT, STDERR)]
        shift = base - piece.base
        return [
            Record(offset=each.offset + shift, stream=each.stream, time=each.time, steps=each.steps)
            for each in old
        ] or [Record(offset=base, stream=STDOUT, time=os.fstat(piece.data).st_mtime_ns)]

    def _adopt(self, piece: Piece, size: int) -> None:
        """Take a piece as it was left, and of its index what can be true."""
        self.end = piece.base + size
        index = Index(piece.index)
        count = index.usable(self.end)
        os.ftruncate(piece.index, count * RECORD_SIZE)
        if count == 0 and self.end:
            # Bytes that lost their index count as stdout, of the time the file was last written.
            when = os.fstat(piece.data).st_mtime_ns
            self._put(piece.index, 0, Record(offset=piece.base, stream=STDOUT, time=when))
            count = 1
        self._take_over(piece, count=count, last=index.record(count - 1) if count else None)

    def _take_over(self, piece: Piece, *, count: int, last: Record | None) -> None:
        self._base, self._identity = piece.base, piece.identity
        self._count, self._last = count, last
        self.current = piece

    def _changed(self, what: str) -> None:
        self.notices.append(f"{self.path} {what}")

    def _note(self, stream: int) -> None:
        """Say in the index that bytes of `stream` follow, unless that is said already."""
        now, last = time.time_ns(), self._last
        if last is not None and last.stream == stream and 0 <= now - last.time < TICK:
            return
        if not self._index_is_whole():
            self.open()
            path = index_path(self._directory)
            self._changed(f"lost its index {path}, which goes on from here")
            last = self._last
        self._append(_successor(last, self.end, stream, now))

    def _index_is_whole(self) -> bool:
        try:
            found = os.lstat(index_path(self._directory))
        except FileNotFoundError:
            return False
        ours = os.fstat(self._opened.index)
        same = (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
        return same and found.st_size >= self._count * RECORD_SIZE

    def _append(self, record: Record) -> None:
        # A record that covers nothing is written over: a full disk is retried for hours.
        last = self._last
        covers_nothing = last is not None and last.offset == record.offset and last.stream < DROPPED
        number = self._count - covers_nothing
        self._put(self._opened.index, number, record)
        self._count, self._last = number + 1, record

    def _put(self, index: int, number: int, record: Record) -> None:
        if os.pwrite(index, record.pack(), number * RECORD_SIZE) != RECORD_SIZE:
            raise OSError(ENOSPC, os.strerror(ENOSPC), index_path(self._directory))


def _successor(last: Record | None, offset: int, stream: int, now: int) -> Record:
    if last is None or now >= last.time:
        return Record(offset=offset, stream=stream, time=now, steps=last.steps if last else 0)
    if last.steps < MAX_STEPS:
        return Record(offset=offset, stream=stream, time=now, steps=last.steps + 1)
    return Record(offset=offset, stream=stream, time=last.time, steps=last.steps)
