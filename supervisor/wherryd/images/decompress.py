"""Compressed bytes to plain ones, in pieces of bounded size. Never reads a file; never trusts a name.

A stream may consist of several members (frames) back to back, and may be padded with zeros, as tape
archives are. Anything else after a member, and a member without its end, is an error.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Protocol

from wherryd.images.broken import BrokenArchive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PIECE = 256 << 10
"""Bytes of output at a time: small enough for the processor's cache, large enough to make calls rare."""

_XZ_MEMORY = 256 << 20  # an `xz -9` archive needs 65 MiB; the largest dictionaries would need gigabytes
_ZSTD_WINDOW = 128 << 20  # what `zstd --long` makes, and the limit of the zstd command itself
_ZSTD_BITE = 2 << 10  # a block of 4 bytes can expand to 128 KiB: 64 MiB of output at most for a bite


class Decoder(Protocol):
    """One member being decoded, with the interface of bz2's and lzma's own decompressors."""

    @property
    def eof(self) -> bool: ...  # noqa: D102 - as in the standard library
    @property
    def needs_input(self) -> bool: ...  # noqa: D102 - as above
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102 - as above
    def decompress(self, data: bytes, max_length: int) -> bytes: ...  # noqa: D102 - as above


class _Gzip:
    """zlib's decompressor behind the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class _Zstd:
    """A zstd frame, fed in bites: its decompressor cannot be told how much to return at most."""

    def __init__(self) -> None:
        import zstandard

        self._frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._waiting = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._waiting)

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._waiting[self._at :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._waiting, self._at = self._waiting[self._at :] + data, 0
        out: list[bytes] = []
        size = 0
        while size < max_length and self._at < len(self._waiting) and not self._frame.eof:
            bite = self._waiting[self._at : self._at + _ZSTD_BITE]
            self._at += len(bite)
            piece = self._frame.decompress(bite)
            if piece:
                out.append(piece)
                size += len(piece)
        return b"".join(out)


def _xz() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


_FORMATS: tuple[tuple[str, bytes, Callable[[], Decoder]], ...] = (
    ("gzip", b"\x1f\x8b", _Gzip),
    ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ("xz", b"\xfd7zXZ\0", _xz),
    ("zstd", b"\x28\xb5\x2f\xfd", _Zstd),
)


def detect(head: bytes) -> str | None:
    """Return the name of the compression that `head`, the first bytes, begins with; None: none known."""
    for name, magic, _ in _FORMATS:
        if head.startswith(magic):
            return name
    return None


def prepare(compression: str | None) -> None:
    """Load what decoding needs, before the root of the file system is gone."""
    if compression is not None:
        _decoder(compression)


def decompress(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield the plain bytes of `chunks`. Raises BrokenArchive for cut or damaged data."""
    decoder: Decoder | None = None
    magic = next(magic for name, magic, _ in _FORMATS if name == compression)
    rest = b""
    for chunk in chunks:
        rest += chunk
        while True:
            if decoder is None:
                rest = rest.lstrip(b"\0")
                if len(rest) < len(magic):
                    break
                if not rest.startswith(magic):
                    raise BrokenArchive(f"the {compression} data is followed by something else")
                decoder = _decoder(compression)
            yield from _member(decoder, rest, compression)
            if not decoder.eof:
                rest = b""
                break
            rest, decoder = decoder.unused_data, None
    if decoder is not None:
        raise BrokenArchive(f"the {compression} data ends too early: the archive is truncated")
    if rest:
        raise BrokenArchive(f"the {compression} data is followed by something else")


def _decoder(compression: str) -> Decoder:
    return next(make for name, _, make in _FORMATS if name == compression)()


def _member(decoder: Decoder, data: bytes, compression: str) -> Iterator[bytes]:
    while not decoder.eof:
        try:
            piece = decoder.decompress(data, PIECE)
        except MemoryError as error:
            raise BrokenArchive(f"decoding the {compression} data needs too much memory") from error
        except Exception as error:
            # each decoder has an exception type of its own; zstandard's is known only once it is imported
            raise BrokenArchive(f"the {compression} data is damaged: {error}") from error
        data = b""
        if piece:
            yield piece
        elif decoder.needs_input:
            return
