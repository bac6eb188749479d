"""Reading and following a log.

Owns its own read-only descriptors for as long as it reads. Never blocks the trio loop on a disk, and
never slows the pump: a follower that does not read is simply behind in the file.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from errno import EAGAIN, EOPNOTSUPP
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherryd.logs.index import RECORD_SIZE, STDERR, STDOUT, Index, unpack
from wherryd.logs.locate import BLOCK, RECORDS, Files, Place, Selection, locate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from wherryd.logs.log import Log


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one stream (1 stdout or terminal, 2 stderr), taken at `time` (nanoseconds since the epoch)."""

    stream: int
    time: int
    data: bytes
    place: int = field(default=0, compare=False)
    """Where in the log they end: what `from_offset` takes."""


async def read(
    log: Log,
    *,
    streams: Collection[int] = (STDOUT, STDERR),
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    follow: bool = False,
    from_offset: int = 0,
    anchored: bool = False,
    files: Files | None = None,
    run_end: Callable[[], int | None] | None = None,
) -> AsyncGenerator[Chunk]:
    """Yield what was logged, in the order of the file, in chunks of at most 64 KiB.

    `tail` is how many lines from the end of what is selected; `since` and `until` are nanoseconds since
    the epoch, compared with the time at which a chunk was taken from the container (since <= time < until).
    With `follow` the end comes when the current run is over and no other is to follow (or at `until`); with
    `run_end`, which returns where a run ends once that is known, at the end of that run. Bytes that somebody
    cuts off the file by hand before they are read are not seen. To be closed with `contextlib.aclosing`.
    When `anchored`, the first chunk is an empty one at the place where reading begins.
    `files` were opened before, for a log that may be removed any time; they are ours from here on.
    Raises OSError when the files cannot be read; a log that was removed is empty.
    """
    selection = Selection(streams=frozenset(streams), since=since, until=until)
    reading = _Reading(log, selection, files, follow=follow)
    try:
        with log.listening() if follow else nullcontext():
            await reading.begin(tail, from_offset)
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
    finally:
        reading.close()


async def _changed(log: Log, seen: int, until: int | None) -> bool:
    """Wait for a change; return whether it came before `until`."""
    left = math.inf if until is None else max((until - time.time_ns()) / 1e9, 0)
    with trio.move_on_after(left):
        await log.wait_changed(seen)
        return True
    return False


class _Reading:
    """A position in a log that only moves forward (back only when somebody cut the file)."""

    def __init__(self, log: Log, selection: Selection, files: Files | None, *, follow: bool) -> None:
        self._log = log
        self._selection = selection
        self._follow = follow
        self._files = files
        self._generation: int = log.segment.generation
        self._place = Place(offset=0)
        self._offset = 0
        self._number = 0
        self._buffer = b""
        self._buffer_at = 0

    @property
    def place(self) -> int:
        """Where in the log it is."""
        return self._offset

    async def begin(self, tail: int | None, from_offset: int) -> None:
        """Open the files and find the place to start at."""
        if self._files is None:
            self._open()
        wanted = self._selection
        whole = tail is None and from_offset == 0 and wanted.since is None and wanted.until is None
        if self._files is None or whole:
            return
        # Somebody may have cut it meanwhile.
        from_offset = min(from_offset, self._files.size())
        find = partial(locate, tail=tail, from_offset=from_offset, ends=not self._follow)
        self._place = await trio.to_thread.run_sync(find, self._files, wanted)
        self._offset, self._number = self._place.offset, self._place.number

    async def forward(self, limit: int | None = None) -> AsyncGenerator[Chunk]:
        """Yield what is selected from here to what is the end now, or to `limit`."""
        self._catch_up()
        if self._files is None:
            return
        end = self._files.size()
        if self._place.end is not None:
            end = min(end, self._place.end)
        if limit is not None:
            end = min(end, limit)
        while self._offset < end:
            for stop, stream, when in await self._spans(self._files, end):
                if not self._selection.wants(stream, when):
                    self._offset = stop
                while self._offset < stop:
                    data = await self._bytes(self._files, stop, end)
                    if not data:
                        return
                    self._offset += len(data)
                    yield Chunk(stream, when, data, self._offset)

    def close(self) -> None:
        """Close the files."""
        if self._files is not None:
            self._files.close()
            self._files = None

    def _open(self) -> None:
        with suppress(FileNotFoundError):
            self._files = Files(self._log.directory)

    def _catch_up(self) -> None:
        """Turn to the files that are there now, if they are others than before."""
        segment = self._log.segment
        if self._files is not None and segment.generation == self._generation:
            return
        self.close()
        self._generation = segment.generation
        self._offset = min(self._offset, segment.restart)
        self._buffer = b""
        self._open()
        if self._files is not None:
            self._number = Index(self._files.index).at_offset(self._offset)

    async def _spans(self, files: Files, end: int) -> list[tuple[int, int, int]]:
        """Return (stop, stream, time) of the next spans, which follow each other from here; never none."""
        records = unpack(await _pread(files.index, (RECORDS + 1) * RECORD_SIZE, self._number * RECORD_SIZE))
        if not records:
            # Somebody removed the index of a log that is not written to any more.
            return [(end, STDOUT, os.fstat(files.data).st_mtime_ns)]
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

    async def _bytes(self, files: Files, stop: int, end: int) -> bytes:
        """Return some bytes from here on, at most up to `stop`; none when the file ends before."""
        within = self._offset - self._buffer_at
        if not 0 <= within < len(self._buffer):
            self._buffer = await _pread(files.data, min(BLOCK, end - self._offset), self._offset)
            self._buffer_at, within = self._offset, 0
        return self._buffer[within : within + stop - self._offset]


async def _pread(fd: int, count: int, offset: int) -> bytes:
    """Read at an offset: at once from the page cache, in a worker thread from the disk."""
    await trio.lowlevel.checkpoint()
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        # EOPNOTSUPP: this file system (tmpfs before Linux 6.6) has nothing to wait for, or cannot say.
        if error.errno not in (EAGAIN, EOPNOTSUPP):
            raise
        return await trio.to_thread.run_sync(os.pread, fd, count, offset)
    return bytes(memoryview(buffer)[:got])
