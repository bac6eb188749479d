"""Where reading a log starts and ends: by time, by place, by lines counted from the end.

Owns the searches over all pieces of a log. Synchronous, for a worker thread: a log that is not in the page
cache is read from disk here. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherryd.logs.index import STDERR, STDOUT, Index
from wherryd.logs.pieces import Piece, kept_places, open_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.logs.log import Log

BLOCK = 65536
RECORDS = 4096
"""How many index records are read at once: 64 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which bytes are wanted: of which streams, and taken when (nanoseconds, since <= time < until)."""

    streams: frozenset[int] = frozenset((STDOUT, STDERR))
    since: int | None = None
    until: int | None = None

    @property
    def everything(self) -> bool:
        """Whether every byte is wanted."""
        return self.since is None and self.until is None and self.streams >= {STDOUT, STDERR}

    def wants(self, stream: int, time: int) -> bool:
        """Say whether bytes of this stream and time are wanted."""
        return (
            stream in self.streams
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )


class Pieces:
    """The pieces of a log at one moment, oldest first; each is opened when it is looked at.

    `last` is the one that is written to, or was.
    """

    def __init__(self, log: Log, last: Piece) -> None:
        self._log = log
        self.last = last
        self._places = [place for place in _places(log) if place < last.base]

    @property
    def begin(self) -> int:
        """Return the place of the oldest byte that there is."""
        return self._places[0] if self._places else self.last.base

    def covering(self, place: int) -> Piece | None:
        """Return the piece with the byte at a place, else the next one; None when one went just now."""
        if place >= self.last.base:
            return self.last
        older = [begin for begin in self._places if begin <= place]
        if older:
            piece = self.open(older[-1])
            if piece is None or place < piece.end():
                return piece
        newer = [begin for begin in self._places if begin > place]
        return self.open(newer[0]) if newer else self.last

    def open(self, place: int) -> Piece | None:
        """Return the full piece that begins at a place; None when it has gone."""
        for piece in self._log.legacy:
            if piece.base == place:
                return piece
        return open_kept(self._log.directory, place)

    def backwards(self) -> Iterator[Piece]:
        """Yield the pieces, newest first, as far back as they are there."""
        yield self.last
        for place in reversed(self._places):
            piece = self.open(place)
            if piece is None:
                return
            yield piece


def _places(log: Log) -> list[int]:
    return [piece.base for piece in log.legacy] or kept_places(log.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to read: from a place up to a place (None: the end)."""

    begin: int
    end: int | None = None


def locate(pieces: Pieces, selection: Selection, *, tail: int | None, begin: int, ends: bool) -> Place:
    """Return where to read: the last `tail` lines of what is selected, from the place `begin` on.

    With `ends` nothing after the place's end is selected; without, what is written later may be.
    """
    start, end = _range(pieces, selection, begin)
    if tail is not None:
        start = tail_place(pieces, selection, start=start, end=end, lines=tail)
    return Place(begin=start, end=end if ends else None)


def _range(pieces: Pieces, selection: Selection, begin: int) -> tuple[int, int]:
    """Return from where to where there may be bytes of the selected times."""
    if selection.since is None and selection.until is None:
        return max(begin, pieces.begin), pieces.last.end()
    start = end = None
    for piece in pieces.backwards():
        index = Index(piece.index)
        first, last = index.window(selection.since, selection.until)
        if first == last:
            continue
        start = index.record(first).offset
        if end is None:
            end = index.record(last).offset if last < index.count() else piece.end()
    if start is None or end is None:
        start = end = pieces.last.end()
    return max(begin, start), end


def tail_place(pieces: Pieces, selection: Selection, *, start: int, end: int, lines: int) -> int:
    """Return where the last `lines` lines of the selected bytes in start … end begin.

    A last line without its newline counts as one.
    """
    newlines, found = lines, end
    for place, block in _blocks_backwards(pieces, selection, start, end) if lines else ():
        if found == end and block.endswith(b"\n"):
            newlines += 1
        here = block.count(b"\n")
        if here >= newlines:
            return place + _newline_from_the_end(block, newlines) + 1
        newlines -= here
        found = place
    return found


def _newline_from_the_end(block: bytes, which: int) -> int:
    at = len(block)
    for _ in range(which):
        at = block.rindex(b"\n", 0, at)
    return at


def _blocks_backwards(
    pieces: Pieces, selection: Selection, start: int, end: int
) -> Iterator[tuple[int, bytes]]:
    for piece in pieces.backwards():
        low, high = max(start, piece.base), min(end, piece.end())
        whole = iter([(low, high)] if low < high else [])
        spans = whole if selection.everything else _spans_backwards(Index(piece.index), selection, low, high)
        for begin, stop in spans:
            while stop > begin:
                place = max(begin, stop - BLOCK, (stop - 1 - piece.base) // BLOCK * BLOCK + piece.base)
                yield place, piece.read(stop - place, place)
                stop = place  # noqa: PLW2901 - the span shrinks from behind
        if piece.base <= start:
            return


def _spans_backwards(index: Index, selection: Selection, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the selected spans within start … end, last first; neighbours are joined."""
    joined = (end, end)
    for begin, stop in _wanted_backwards(index, selection, start, end):
        if stop == joined[0]:
            joined = (begin, joined[1])
            continue
        if joined[0] < joined[1]:
            yield joined
        joined = (begin, stop)
    if joined[0] < joined[1]:
        yield joined


def _wanted_backwards(index: Index, selection: Selection, start: int, end: int) -> Iterator[tuple[int, int]]:
    last, lowest = index.at_offset(end) + 1, index.at_offset(start)
    while last > lowest:
        first = max(lowest, last - RECORDS)
        for offset, stream, time in reversed(index.block(first, last)):
            if selection.wants(stream, time) and offset < end:
                yield max(offset, start), end
            end = min(end, offset)
        last = first
