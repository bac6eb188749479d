"""One data file and its index, open for writing: record first, then the bytes.

Owns the two files while a container runs. Never holds a log byte: `splice` moves them from the pipe
to the file inside the kernel. Used by one thread at a time.

Somebody may remove, truncate or replace either file while the container runs. That is noticed at the
next move (one stat each), before any byte is taken from the pipe, and writing goes on in a file of
the right name.
"""

from __future__ import annotations

import os
import stat
import time
from errno import EINVAL, ENOSPC
from typing import TYPE_CHECKING

from wherryd.logs.index import MAX_STEPS, RECORD_SIZE, STDOUT, Index, Record

if TYPE_CHECKING:
    from pathlib import Path

TICK = 1_000_000
"""Bytes of one stream that come within this many nanoseconds of a record share it."""

SLICE = 32768
"""Bytes moved by one splice, which holds the pipe's lock: less is more calls, more stops the writer."""


def open_regular(path: str, flags: int) -> int:
    """Open a regular file that is not a symbolic link, without ever waiting for it.

    Raises OSError, with EINVAL when it is something else than a file, ELOOP when it is a link.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EINVAL, "not a regular file", path)
    return fd


def data_path(directory: Path) -> str:
    """Return where a container's bytes are."""
    return f"{directory}/log"


def index_path(directory: Path) -> str:
    """Return where the index of a container's bytes is."""
    return f"{directory}/log.index"


class _File:
    """A file that ought to stay at its path. `identity` is that of the one opened last."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.identity: tuple[int, int] | None = None

    def open(self) -> int:
        """Open or create it (mode 0600); return its size."""
        self.close()
        self.fd = open_regular(self.path, os.O_RDWR | os.O_CREAT)
        found = os.fstat(self.fd)
        self.identity = (found.st_dev, found.st_ino)
        return found.st_size

    def size(self) -> int | None:
        """Return its size; None when it is not open, or its path no longer leads to it."""
        if self.fd < 0:
            return None
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return None
        return found.st_size if (found.st_dev, found.st_ino) == self.identity else None

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


class Segment:
    """Where a container's bytes go now.

    `generation` goes up when a file was removed, replaced or cut by hand; `restart` is the offset at
    which writing then went on. `notices` are lines about it that nobody was told yet.
    """

    def __init__(self, directory: Path) -> None:
        self.generation = 0
        self.restart = 0
        self.notices: list[str] = []
        self._data = _File(data_path(directory))
        self._index = _File(index_path(directory))
        self._end = 0
        self._count = 0
        self._last: Record | None = None

    @property
    def path(self) -> str:
        """Return the data file's path."""
        return self._data.path

    def open(self) -> None:
        """Open both files, made if missing, and drop index records that cannot be true.

        Raises OSError when a file cannot be opened or is not a regular file.
        """
        known = self._data.identity
        size = self._data.open()
        if known not in (None, self._data.identity):
            self._changed(size, "was removed or replaced: writing goes on in the file that is there now")
        elif size < self._end:
            self._changed(size, f"was cut to {size} bytes: writing goes on from there")
        self._end = size
        self._open_index()

    def close(self) -> None:
        """Close both files; the next `take` opens them again."""
        self._data.close()
        self._index.close()

    def take(self, pipe: int, stream: int, limit: int) -> int:
        """Move at most `limit` bytes from `pipe` to the end of the log; return how many.

        Raises OSError when a file cannot be written: the bytes that were not moved are still in the pipe.
        """
        self._note(self._settle(), stream)
        start, moved = self._end, SLICE
        while moved == SLICE and self._end - start < limit:
            moved = self._splice(pipe, min(SLICE, limit + start - self._end))
        return self._end - start

    def _splice(self, pipe: int, limit: int) -> int:
        flags = os.SPLICE_F_NONBLOCK
        try:
            moved = os.splice(pipe, self._data.fd, limit, offset_dst=self._end, flags=flags)
        except BlockingIOError:
            moved = 0
        self._end += moved
        return moved

    def _settle(self) -> int:
        """Return the offset at which to go on, after mending what was done to the data file."""
        size = self._data.size()
        if size is None or size < self._end:
            self.open()
        else:
            self._end = size
        return self._end

    def _changed(self, size: int, what: str) -> None:
        self.notices.append(f"{self._data.path} {what}")
        self.restart = size
        self.generation += 1

    def _open_index(self) -> None:
        self._last = None
        if self._index.open() == 0 and self._end:
            self._adopt()
        index = Index(self._index.fd)
        self._count = index.usable(self._end)
        os.ftruncate(self._index.fd, self._count * RECORD_SIZE)
        self._last = index.record(self._count - 1) if self._count else None

    def _adopt(self) -> None:
        """Count bytes that lost their index as stdout, of the time the file was last written."""
        when = os.fstat(self._data.fd).st_mtime_ns
        self._put(0, Record(offset=0, stream=STDOUT, time=when))

    def _note(self, offset: int, stream: int) -> None:
        """Say in the index that bytes of `stream` follow from `offset`, unless that is said already."""
        now, last = time.time_ns(), self._last
        if last is not None and last.stream == stream and 0 <= now - last.time < TICK:
            return
        size = self._index.size()
        if size is None or size < self._count * RECORD_SIZE:
            self._open_index()
            self._changed(offset, f"lost its index {self._index.path}, which goes on from here")
            last = self._last
        self._append(_successor(last, offset, stream, now))

    def _append(self, record: Record) -> None:
        # A record that covers nothing is written over: a full disk is retried for hours.
        covers_nothing = self._last is not None and self._last.offset == record.offset
        number = self._count - covers_nothing
        self._put(number, record)
        self._count, self._last = number + 1, record

    def _put(self, number: int, record: Record) -> None:
        if os.pwrite(self._index.fd, record.pack(), number * RECORD_SIZE) != RECORD_SIZE:
            raise OSError(ENOSPC, os.strerror(ENOSPC), self._index.path)


def _successor(last: Record | None, offset: int, stream: int, now: int) -> Record:
    if last is None or now >= last.time:
        return Record(offset=offset, stream=stream, time=now, steps=last.steps if last else 0)
    if last.steps < MAX_STEPS:
        return Record(offset=offset, stream=stream, time=now, steps=last.steps + 1)
    return Record(offset=offset, stream=stream, time=last.time, steps=last.steps)
