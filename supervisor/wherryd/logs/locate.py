"""Where reading a log starts and ends: by time, by offset, by lines counted from the end.

Owns the searches over both files. Synchronous, for a worker thread: a log that is not in the page
cache is read from disk here. Writes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherryd.logs.index import STDERR, STDOUT, Index
from wherryd.logs.segment import data_path, index_path, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


class Files:
    """A log's two files, open for reading. `data` and `index` are descriptors."""

    def __init__(self, directory: Path) -> None:
        self.data = open_regular(data_path(directory), os.O_RDONLY)
        try:
            self.index = open_regular(index_path(directory), os.O_RDONLY)
        except OSError:
            os.close(self.data)
            raise

    def size(self) -> int:
        """Return how many bytes the log holds now; records of all of them are in the index."""
        return os.fstat(self.data).st_size

    def close(self) -> None:
        """Close both."""
        os.close(self.data)
        os.close(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to read: from a byte, whose record has this number, up to a byte (None: the end)."""

    offset: int
    number: int = 0
    end: int | None = None


def locate(files: Files, selection: Selection, *, tail: int | None, from_offset: int, ends: bool) -> Place:
    """Return where to read: the last `tail` lines of what is selected, from `from_offset` on.

    With `ends` nothing after the place's end is selected; without, what is written later may be.
    """
    index, size = Index(files.index), files.size()
    first, last = index.window(selection.since, selection.until)
    start = max(_offset_of(index, first, size), from_offset)
    end = _offset_of(index, last, size) if last else size
    offset = start if tail is None else tail_offset(files, selection, start=start, end=end, lines=tail)
    return Place(offset=offset, number=index.at_offset(offset), end=end if ends else None)


def _offset_of(index: Index, number: int, size: int) -> int:
    if number == 0:
        return 0
    return index.record(number).offset if number < index.count() else size


def tail_offset(files: Files, selection: Selection, *, start: int, end: int, lines: int) -> int:
    """Return where the last `lines` lines of the selected bytes in start … end begin.

    A last line without its newline counts as one.
    """
    if selection.everything:
        spans = iter([(start, end)] if start < end else [])
    else:
        spans = _spans_backwards(Index(files.index), selection, start, end)
    newlines, found = lines, end
    for offset, block in _blocks_backwards(files.data, spans):
        if found == end and block.endswith(b"\n"):
            newlines += 1
        here = block.count(b"\n")
        if here >= newlines:
            return offset + _newline_from_the_end(block, newlines) + 1 if lines else end
        newlines -= here
        found = offset
    return found if lines else end


def _newline_from_the_end(block: bytes, which: int) -> int:
    at = len(block)
    for _ in range(which):
        at = block.rindex(b"\n", 0, at)
    return at


def _blocks_backwards(data: int, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    for start, end in spans:
        while end > start:
            offset = max(start, end - BLOCK)
            yield offset, os.pread(data, end - offset, offset)
            end = offset  # noqa: PLW2901 - the span shrinks from behind


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
