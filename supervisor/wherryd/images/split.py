"""A layer's archive taken apart: what it has besides its files' contents, to write it again byte for byte.

    split.zst, a zstd stream of:    R u32 bytes                     so many bytes as they are
                                    P u64 u64 u16 u16 path          (offset, length) of a file of the layer
    replaced:                       u16 u16 u64 path bytes          a whole file that a later one replaced

A file has a generation, 0 at first (the first u16): an archive may have several of one name, of which the
last stays. The worker keeps all this while it unpacks (Splitter); packer.py puts it together again (parts).
Headers are a few per cent of an archive and compress well; keeping the archive itself would double the store.
"""

from __future__ import annotations

import os
import stat
import struct
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from wherryd.images.broken import BrokenArchive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_RAW = struct.Struct("<cI")
_PART = struct.Struct("<cQQHH")
_REPLACED = struct.Struct("<HHQ")
MAX_REPLACED = 64 << 20
"""Bytes of replaced files in an archive: whoever puts it together holds them in memory."""
_MAX_GENERATION = 0xFFFF
_ENOUGH = 256 << 10  # bytes for the compressor at a time


class Content(NamedTuple):
    """A stretch of a file of the layer, or of one that was replaced."""

    generation: int
    path: bytes
    offset: int
    length: int


class Splitter:
    """Writes split.zst at `fd` and what was replaced at `replaced`, both of which it owns.

    Files of more than MAX_REPLACED are too much: then the archive cannot be written again.
    """

    def __init__(self, fd: int, replaced: int) -> None:
        import zstandard  # before the root of the file system is gone

        self._fd = fd
        self._replaced = replaced
        self._room = MAX_REPLACED
        self._generations: dict[bytes, int] = {}
        self._zstd = zstandard.ZstdCompressor(level=1).compressobj()
        self._raw: list[memoryview] = []
        self._raw_size = 0
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        self.valid = True

    def raw(self, data: memoryview) -> None:
        """Keep bytes of the archive as they are."""
        self._raw.append(data)
        self._raw_size += len(data)
        if self._raw_size >= _ENOUGH:
            self._end_raw()

    def content(self, path: bytes, offset: int, length: int) -> None:
        """Remember that here the archive has what is now that stretch of a file."""
        if length:
            self._end_raw()
            generation = self._generations.get(path, 0)
            self._put(_PART.pack(b"P", offset, length, generation, len(path)), path)

    def replace(self, path: bytes) -> None:
        """Keep a file that is about to be removed for a later one of its name."""
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return
        generation = self._generations.get(path, 0)
        self._generations[path] = generation + 1
        self._room -= found.st_size
        if self._room < 0 or generation >= _MAX_GENERATION:
            self.valid = False
        if self.valid:
            with open(path, "rb") as file:
                data = file.read()
            _write(self._replaced, _REPLACED.pack(generation, len(path), len(data)) + path + data)

    def finish(self) -> bool:
        """Write the rest and close; say whether the archive can be written again."""
        self._end_raw()
        self._compress()
        _write(self._fd, self._zstd.flush())
        os.close(self._fd)
        os.close(self._replaced)
        return self.valid

    def _end_raw(self) -> None:
        if self._raw:
            self._put(_RAW.pack(b"R", self._raw_size), *self._raw)
            self._raw, self._raw_size = [], 0

    def _put(self, *pieces: bytes | memoryview) -> None:
        self._out += pieces
        self._out_size += sum(map(len, pieces))
        if self._out_size >= _ENOUGH:
            self._compress()

    def _compress(self) -> None:
        _write(self._fd, self._zstd.compress(b"".join(self._out)))
        self._out, self._out_size = [], 0


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def prepare() -> None:
    """Load what reading takes, before the root of the file system is gone."""
    import_module("zstandard")


def parts(fd: int) -> Iterator[bytes | Content]:
    """Yield what the file at `fd` has, in the archive's order. Raises BrokenArchive if it is damaged."""
    import zstandard

    with os.fdopen(fd, "rb", closefd=False) as file:
        reader: BinaryIO = zstandard.ZstdDecompressor().stream_reader(file)
        try:
            while kind := reader.read(1):
                yield _content(reader) if kind == b"P" else _raw(reader)
        except zstandard.ZstdError as error:
            raise BrokenArchive(f"what is kept of it is damaged: {error}") from error


def _raw(reader: BinaryIO) -> bytes:
    (size,) = struct.unpack("<I", _exactly(reader, 4))
    return _exactly(reader, size)


def _content(reader: BinaryIO) -> Content:
    offset, length, generation, size = struct.unpack("<QQHH", _exactly(reader, 20))
    return Content(generation, _exactly(reader, size), offset, length)


def replaced_files(fd: int) -> dict[tuple[int, bytes], bytes]:
    """Return what the file `replaced` has, by generation and path. Raises BrokenArchive if it is damaged."""
    found: dict[tuple[int, bytes], bytes] = {}
    with os.fdopen(fd, "rb", closefd=False) as file:
        while head := file.read(_REPLACED.size):
            if len(head) < _REPLACED.size:
                raise BrokenArchive("what is kept of it is cut")
            generation, path_size, size = _REPLACED.unpack(head)
            path = _exactly(file, path_size)
            found[generation, path] = _exactly(file, size)
    return found


def _exactly(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    while len(data) < size and (more := reader.read(size - len(data))):
        data += more
    if len(data) < size:
        raise BrokenArchive("what is kept of it is cut")
    return data
