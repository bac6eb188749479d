"""Packed pieces: a gzip file of many members, so that any part is read without what comes before it.

Each member holds MEMBER bytes of the log, the last one what is left, and says in an extra field of its header
(RFC 1952, 2.3.1.1) how long it is: who reads hops from header to header. zcat, zgrep and gunzip read such a
file as any other.

Owns the format. No policy: which file is packed, and when, is said elsewhere.
"""

from __future__ import annotations

import os
import struct
import zlib
from errno import EIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBER = 1 << 18
"""Bytes of the log in a member: what is unpacked for a single line of it, and held by who reads."""

LEVEL = 4
"""Of zlib: half the time of its default, and logs are hardly longer for it."""

_HEAD = struct.Struct("<4sIBBHBBHII")
"""Magic, method and flags; time; extra flags and system; length of the extra field; our subfield: two
letters, its length, the member's length as a whole and that of its bytes when unpacked."""
_START = b"\x1f\x8b\x08\x04"
_LETTERS = (0x57, 0x59)
_FIELD = 8
_TAIL = struct.Struct("<II")
_RAW = -15
"""wbits of zlib: neither its header nor its checksum."""


def member(data: bytes) -> bytes:
    """Return the member that holds some bytes."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
    body = packer.compress(data) + packer.flush()
    whole = _HEAD.size + len(body) + _TAIL.size
    head = _HEAD.pack(_START, 0, 0, 3, _FIELD + 4, *_LETTERS, _FIELD, whole, len(data))
    return head + body + _TAIL.pack(zlib.crc32(data), len(data))


def unpacked_size(path: str) -> int:
    """Return how many bytes a packed file holds. Raises OSError, with EIO when it is none of ours."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return Packed(fd).size
    finally:
        os.close(fd)


class Packed:
    """A packed file, to be read anywhere. The descriptor is the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._members = list(self._hop())
        self._ready = -1
        self._bytes = b""

    @property
    def size(self) -> int:
        """Return how many bytes it holds."""
        return sum(size for _, _, size in self._members)

    def read(self, count: int, offset: int) -> bytes:
        """Return at most so many bytes from an offset on; none only at the end. Raises OSError."""
        number = offset // MEMBER
        if number >= len(self._members):
            return b""
        if number != self._ready:
            self._bytes = self._unpack(number)
            self._ready = number
        within = offset - number * MEMBER
        return self._bytes[within : within + count]

    def read_ready(self, count: int, offset: int) -> bytes | None:
        """Return the same if it takes no unpacking, else None."""
        return self.read(count, offset) if offset // MEMBER == self._ready else None

    def _hop(self) -> Iterator[tuple[int, int, int]]:
        """Yield (offset, length, length when unpacked) of each member."""
        at, end = 0, os.fstat(self._fd).st_size
        while at < end:
            head = os.pread(self._fd, _HEAD.size, at)
            if len(head) < _HEAD.size:
                raise self._broken(at)
            start, _, _, _, _, *letters, _, whole, size = _HEAD.unpack(head)
            if start != _START or tuple(letters) != _LETTERS or whole <= _HEAD.size or at + whole > end:
                raise self._broken(at)
            yield at, whole, size
            at += whole

    def _unpack(self, number: int) -> bytes:
        at, whole, size = self._members[number]
        body = os.pread(self._fd, whole - _HEAD.size, at + _HEAD.size)
        try:
            data = zlib.decompress(body[: -_TAIL.size], _RAW, size)
        except zlib.error:
            raise self._broken(at) from None
        if _TAIL.unpack(body[-_TAIL.size :]) != (zlib.crc32(data), size):
            raise self._broken(at)
        return data

    def _broken(self, at: int) -> OSError:
        path = os.readlink(f"/proc/self/fd/{self._fd}")
        return OSError(EIO, f"the packed log is damaged at byte {at}", path)
