"""A layer's archive taken apart: what it has besides its files' contents, to write it again byte for byte.

    split.zst, a zstd stream of:    R u32 bytes                     so many bytes as they are
                                    P u64 u64 u16 path              (offset, length) of a file of the layer

The worker keeps it while it unpacks (Splitter); saving.py puts it together again (parts). Headers are a
few per cent of an archive and compress well; keeping the archive itself would double the store.
"""

from __future__ import annotations

import os
import struct
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from wherryd.images.broken import BrokenArchive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_RAW = struct.Struct("<cI")
_PART = struct.Struct("<cQQH")
_ENOUGH = 256 << 10  # bytes for the compressor at a time


class Content(NamedTuple):
    """A stretch of a file of the layer."""

    path: bytes
    offset: int
    length: int


class Splitter:
    """Writes the file at `fd`, which it owns. After `void()` there is nothing to be had from it."""

    def __init__(self, fd: int) -> None:
        import zstandard  # before the root of the file system is gone

        self._fd = fd
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
            self._put(_PART.pack(b"P", offset, length, len(path)), path)

    def void(self) -> None:
        """Give up: a file whose content the archive had is no longer there."""
        self.valid = False

    def finish(self) -> bool:
        """Write the rest and close; say whether the archive can be written again."""
        self._end_raw()
        self._compress()
        self._write(self._zstd.flush())
        os.close(self._fd)
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
        self._write(self._zstd.compress(b"".join(self._out)))
        self._out, self._out_size = [], 0

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


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
    offset, length, size = struct.unpack("<QQH", _exactly(reader, 18))
    return Content(_exactly(reader, size), offset, length)


def _exactly(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    while len(data) < size and (more := reader.read(size - len(data))):
        data += more
    if len(data) < size:
        raise BrokenArchive("what is kept of it is cut")
    return data
