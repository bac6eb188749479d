"""The index of a log: fixed-size records that say who wrote which bytes, and when.

Owns the format and the searches in it. Never writes, never reads the log's bytes.

A record is 16 bytes, little endian, with no header before the first:

    word  u64    offset << 16 | steps << 4 | stream
    time  i64    nanoseconds since the epoch

It means: the bytes from `offset` up to the next record's offset (or the end of the file) are of this
`stream` (1 stdout or terminal, 2 stderr) and were taken from the container at this `time`.
A record is written *before* its bytes are moved. A crash between the two leaves a record that covers
nothing; the next one then has the same offset. Sixteen bytes divide a page, so a write that is cut
short by a full disk or a kill never leaves half a record.

Where bytes are missing, as a container was not to wait for its log, there are two records that cover
nothing: one whose stream is DROPPED more than that of the bytes, and one that counts them (stream COUNT):

    word  u64    lines << 4 | COUNT
    time  i64    bytes

For searching it is as the one before it.

`steps` counts how often the clock was set back while this log was written. Records are therefore
sorted by offset, and also by (steps, time): a search by time is right whatever the clock did.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

STDOUT = 1
STDERR = 2
DROPPED = 8
COUNT = 15
RECORD_SIZE = 16
MAX_STEPS = 0xFFF
"""More than 4095 steps back cannot be counted: from then on times are kept from going back."""

_FORMAT = struct.Struct("<Qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; see the module's text."""

    offset: int
    time: int
    stream: int
    steps: int = 0

    def pack(self) -> bytes:
        """Return the record's 16 bytes."""
        return _FORMAT.pack(self.offset << 16 | self.steps << 4 | self.stream, self.time)


def pack_gap(record: Record, *, count: int, lines: int) -> bytes:
    """Return the two records that say what is missing; the first one says where, when and of which stream."""
    return record.pack() + _FORMAT.pack(lines << 4 | COUNT, count)


def unpack(data: bytes, before: int = 0) -> list[tuple[int, int, int]]:
    """Return (offset, stream, time) of each whole record in `data`; `before`: the offset of the one before.

    Of one that counts: the offset of the one before it, lines << 4 | COUNT, bytes.
    """
    whole = len(data) - len(data) % RECORD_SIZE
    found = [(word >> 16, word & 0xF, word, when) for word, when in _FORMAT.iter_unpack(data[:whole])]
    if not any([stream == COUNT for _, stream, _, _ in found]):  # noqa: C419 - half the time
        return [(offset, stream, when) for offset, stream, _, when in found]
    offsets = [offset for offset, _, _, _ in found]
    for number, (_, stream, _, _) in enumerate(found):
        if stream == COUNT:
            offsets[number] = offsets[number - 1] if number else before
    return [
        (offset, word if stream == COUNT else stream, when)
        for offset, (_, stream, word, when) in zip(offsets, found, strict=True)
    ]


class Index:
    """A view of an index file for searching, by record number. Does not own the descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def count(self) -> int:
        """Return how many whole records there are."""
        return os.fstat(self.fd).st_size // RECORD_SIZE

    def record(self, number: int) -> Record:
        """Return one record; one past the end is a record of stream 0."""
        word, when = self._raw(number)
        if word & 0xF == COUNT and number:
            word, when = self._raw(number - 1)
            return Record(offset=word >> 16, steps=word >> 4 & MAX_STEPS, stream=COUNT, time=when)
        return Record(offset=word >> 16, steps=word >> 4 & MAX_STEPS, stream=word & 0xF, time=when)

    def block(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Return (offset, stream, time) of the records first … last-1."""
        data = os.pread(self.fd, (last - first) * RECORD_SIZE, first * RECORD_SIZE)
        return unpack(data, self.record(first).offset)

    def _raw(self, number: int) -> tuple[int, int]:
        data = os.pread(self.fd, RECORD_SIZE, number * RECORD_SIZE)
        word, when = _FORMAT.unpack(data.ljust(RECORD_SIZE, b"\0"))
        return word, when

    def at_offset(self, offset: int) -> int:
        """Return the number of the last record that starts at or before `offset` (0 if there is none)."""
        after = bisect_right(range(self.count()), offset, key=lambda number: self.record(number).offset)
        return max(after - 1, 0)

    def window(self, since: int | None, until: int | None) -> tuple[int, int]:
        """Return the smallest range of record numbers with every record of since <= time < until.

        Where the clock was set back, records inside the range may still be outside the times.
        """
        count = self.count()
        if count == 0 or (since is None and until is None):
            return 0, count
        steps = range(self.record(count - 1).steps + 1)
        firsts = [self._at_time(count, step, since) for step in steps]
        lasts = [self._at_time(count, step, until, after=True) for step in steps]
        ranges = [(first, last) for first, last in zip(firsts, lasts, strict=True) if first < last]
        if not ranges:
            return count, count
        return ranges[0][0], ranges[-1][1]

    def usable(self, size: int) -> int:
        """Return how many records, from the first, can be true of a log of `size` bytes.

        Less than all after a power failure (zeros at the end) or when the log was truncated by hand.
        """
        count = self.count()
        while count and self.record(count - 1).stream not in (STDOUT, STDERR, COUNT):
            count -= 1
        return bisect_right(range(count), size, key=lambda number: self.record(number).offset)

    def _at_time(self, count: int, step: int, when: int | None, *, after: bool = False) -> int:
        """Return the first record of this step at or after `when`; None: the step's own start or end."""

        def order(number: int) -> tuple[int, int]:
            record = self.record(number)
            return record.steps, record.time

        if when is not None:
            return bisect_left(range(count), (step, when), key=order)
        return bisect_left(range(count), step + after, key=lambda number: self.record(number).steps)
