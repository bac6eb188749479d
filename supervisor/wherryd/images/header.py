"""The 512-byte header block of a tar archive: its fields as values. Never reads, never touches the disk.

Formats: POSIX ustar, GNU and V7 (tar(5)). Numbers are octal, or base-256 where GNU tar needs more room.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple
from zlib import adler32

from wherryd.images.broken import BrokenArchive

BLOCK = 512
ZEROS = bytes(BLOCK)

_FIELDS = struct.Struct("100s24s12s12s8sc100s8s80s155s12x")
_ADLER_BASE = 65521
_SPACES = b" " * 8


class Header(NamedTuple):
    """A header block. `prefix` is empty unless the format is ustar; `size` is the field as it stands."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    kind: bytes
    link: bytes
    prefix: bytes


def parse(block: bytes) -> Header:
    """Return the block's fields. Raises BrokenArchive for a wrong checksum or a malformed number."""
    name, ids, size, mtime, checksum, kind, link, magic, _, prefix = _FIELDS.unpack(block)
    _verify(block, number(checksum))
    mode, uid, gid = _ids(ids)
    return Header(
        name.partition(b"\0")[0],
        mode,
        uid,
        gid,
        number(size),
        number(mtime),
        kind,
        link.partition(b"\0")[0],
        prefix.partition(b"\0")[0] if magic[:6] == b"ustar\0" else b"",
    )


def is_header(block: bytes) -> bool:
    """Say whether the block, which may be too short, has the checksum of a header."""
    try:
        _verify(block, number(block[148:156]))
    except BrokenArchive:
        return False
    return len(block) == BLOCK


def number(field: bytes) -> int:
    """Return a numeric field's value. Raises BrokenArchive if it is neither octal nor base-256."""
    digits = field.strip(b" \0")
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    if not digits:
        return 0
    if field[0] == 0x80:  # noqa: PLR2004 - the mark of a positive base-256 number
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF:  # noqa: PLR2004 - and of a negative one
        return int.from_bytes(field[1:], "big") - (1 << 8 * (len(field) - 1))
    raise BrokenArchive("a header holds a malformed number")


@lru_cache(maxsize=256)
def _ids(fields: bytes) -> tuple[int, int, int]:
    # mode, uid and gid: few combinations fill most archives
    return number(fields[:8]), number(fields[8:16]), number(fields[16:])


def _verify(block: bytes, expected: int) -> None:
    """Compare the sum of the block's bytes, its checksum field taken as spaces.

    Adler-32's low half is that sum plus one modulo 65521, at a fiftieth of the cost of adding in Python.
    """
    with_spaces = block[:148] + _SPACES + block[156:]
    if (expected + 1) % _ADLER_BASE == adler32(with_spaces) & 0xFFFF and expected < 1 << 17:
        return
    # some old programs added the bytes as signed ones
    if expected != sum(byte - 256 if byte > 127 else byte for byte in with_spaces):  # noqa: PLR2004 - int8_t
        raise BrokenArchive("a header's checksum is wrong: the archive is damaged")
