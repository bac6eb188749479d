"""The files of a log: what they are called, and one of them with its index, open for reading.

    log, log.index                      the piece that is written to
    log.PLACE, log.index.PLACE          a full one; PLACE is how many bytes of the log came before it
    log.PLACE.gz                        the same, packed (packed.py)
    log.new, log.index.new, log.part    on their way to be one of these; of no use after a crash

A place counts the log's bytes from its first one on, whatever became of them since: it never means other
bytes. The index has places, too, so that its first record tells where its piece begins.

Owns the names and the descriptors. Never writes, but for what somebody removed by hand: an index that is not
there reads as an empty one.
"""

from __future__ import annotations

import os
import re
import stat
from errno import EAGAIN, EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING

from wherryd.logs.index import Index
from wherryd.logs.packed import Packed, unpacked_size

if TYPE_CHECKING:
    from pathlib import Path

DIGITS = 15
"""Of a place in a name: 48 bits, as in the index. Names sort by time."""

PACKED = ".gz"

LOOK_BACK = 4096
"""Records among which the last bytes of a stream are looked for."""

_KEPT = re.compile(r"log\.(\d{15})(\.gz)?", re.ASCII)


def data_path(directory: Path) -> str:
    """Return where a container's bytes are."""
    return f"{directory}/log"


def index_path(directory: Path) -> str:
    """Return where the index of a container's bytes is."""
    return f"{directory}/log.index"


def kept_data(directory: Path, place: int) -> str:
    """Return where the bytes from this place on are, unless they are packed."""
    return f"{directory}/log.{place:0{DIGITS}d}"


def kept_index(directory: Path, place: int) -> str:
    """Return where their index is."""
    return f"{directory}/log.index.{place:0{DIGITS}d}"


def kept_places(directory: Path) -> list[int]:
    """Return where the full pieces that are there begin, oldest first."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted({int(match[1]) for match in map(_KEPT.fullmatch, names) if match})


def open_regular(path: str, flags: int) -> int:
    """Open a regular file that is not a symbolic link, without ever waiting for it.

    Raises OSError, with EINVAL when it is something else than a file, ELOOP when it is a link.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EINVAL, "not a regular file", path)
    return fd


class Piece:
    """A file of a log and its index, open; closed when nobody has this any more.

    `base` is the place of its first byte. Somebody may have cut it by hand: it then ends at `stop`, and the
    log goes on at the place `resume`.
    """

    def __init__(self, base: int, data: int, index: int) -> None:
        self.base = base
        self.data = data
        self.index = index
        self.stop: int | None = None
        self.resume: int | None = None
        found = os.fstat(data)
        self.identity = (found.st_dev, found.st_ino)

    def __del__(self) -> None:
        os.close(self.data)
        os.close(self.index)

    def same(self, other: Piece) -> bool:
        """Say whether both are of the same bytes, opened twice."""
        return self.identity == other.identity and self.base == other.base

    def end(self) -> int:
        """Return the place after its last byte."""
        end = self.base + os.fstat(self.data).st_size
        return end if self.stop is None else min(end, self.stop)

    def read(self, count: int, place: int) -> bytes:
        """Return at most so many bytes from a place on."""
        return os.pread(self.data, count, place - self.base)

    def read_nowait(self, count: int, place: int) -> bytes | None:
        """Return the same, or None when that had to wait for a disk."""
        return pread_nowait(self.data, count, place - self.base)

    def ends_inside_line(self, stream: int) -> bool:
        """Say whether the last byte of a stream is no end of a line; of one that is not found it is."""
        index, end = Index(self.index), self.end()
        count = index.count()
        for number in range(count - 1, max(count - LOOK_BACK, 0) - 1, -1):
            record = index.record(number)
            if record.stream == stream and record.offset < end:
                return self.read(1, end - 1) != b"\n"
            end = min(end, record.offset)
        return False


class PackedPiece(Piece):
    """A piece whose bytes are packed."""

    def __init__(self, base: int, data: int, index: int) -> None:
        super().__init__(base, data, index)
        self._packed = Packed(data)

    def end(self) -> int:
        """Return the place after its last byte."""
        return self.base + self._packed.size

    def read(self, count: int, place: int) -> bytes:
        """Return at most so many bytes from a place on."""
        return self._packed.read(count, place - self.base)

    def read_nowait(self, count: int, place: int) -> bytes | None:
        """Return the same, or None when that had to wait for a disk or for the unpacking."""
        return self._packed.read_ready(count, place - self.base)


def pread_nowait(fd: int, count: int, offset: int) -> bytes | None:
    """Read at an offset from the page cache; None when it had to come from the disk."""
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        # EOPNOTSUPP: this file system (tmpfs before Linux 6.6) has nothing to wait for, or cannot say.
        if error.errno not in (EAGAIN, EOPNOTSUPP):
            raise
        return None
    return bytes(memoryview(buffer)[:got])


def open_current(directory: Path, flags: int = os.O_RDONLY) -> Piece | None:
    """Open the piece that is written to, or was last; None when it is not there. Raises OSError."""
    try:
        data = open_regular(data_path(directory), flags)
    except FileNotFoundError:
        return None
    index = _open_index(index_path(directory), data)
    try:
        base = begin_of(directory, index)
    except BaseException:
        os.close(data)
        os.close(index)
        raise
    return Piece(base, data, index)


def open_kept(directory: Path, place: int) -> Piece | None:
    """Open the full piece that begins at a place; None when it is not there any more. Raises OSError."""
    path = kept_data(directory, place)
    # Packing puts the other name there before it takes this one away.
    for kind, name in ((Piece, path), (PackedPiece, path + PACKED)):
        try:
            data = open_regular(name, os.O_RDONLY)
        except FileNotFoundError:
            continue
        index = _open_index(kept_index(directory, place), data)
        return kind(place, data, index)
    return None


def begin_of(directory: Path, index: int) -> int:
    """Return the place at which the piece with this index begins."""
    searched = Index(index)
    if searched.count():
        return searched.record(0).offset
    places = kept_places(directory)
    return _end_of(directory, places[-1]) if places else 0


def _end_of(directory: Path, place: int) -> int:
    path = kept_data(directory, place)
    try:
        return place + os.stat(path).st_size
    except FileNotFoundError:
        return place + unpacked_size(path + PACKED)


def _open_index(path: str, data: int) -> int:
    """Open an index, an empty one if there is none. Closes `data` when that fails."""
    try:
        return open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.memfd_create("log.index", os.MFD_CLOEXEC)
    except BaseException:
        os.close(data)
        raise
