"""Maps of sparse files: where in the file the stored bytes belong. All forms that GNU tar has written.

Never writes; a map is checked before anyone uses it: in order, without overlap, within the file, and
holding exactly the bytes that are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherryd.images import pax
from wherryd.images.broken import BrokenArchive
from wherryd.images.header import BLOCK, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_EXTENTS = 200_000
"""Pieces of one sparse file: a bound for the worker's memory, far above what real files have."""

_OLD_EXTENTS, _OLD_CONTINUED, _OLD_SIZE = slice(386, 482), 482, slice(483, 495)
_MORE_EXTENTS, _MORE_CONTINUED = slice(0, 504), 504
_EXTENT = 24
_MAX_LINE = 21


class Sparse(NamedTuple):
    """A sparse file: its size, and (offset, length) of each stored piece in order."""

    size: int
    extents: tuple[tuple[int, int], ...]


def checked(size: int, extents: list[tuple[int, int]], stored: int) -> Sparse:
    """Return the map if it is sound. Raises BrokenArchive."""
    end = total = 0
    for offset, length in extents:
        if offset < end or length < 0:
            raise BrokenArchive("a sparse file's map is out of order")
        end = offset + length
        total += length
    if end > size or total != stored or len(extents) > MAX_EXTENTS:
        raise BrokenArchive("a sparse file's map does not fit the file")
    return Sparse(size, tuple(extents))


def old_gnu(block: bytes, take: Callable[[int], bytes]) -> tuple[int, list[tuple[int, int]]]:
    """Return size and extents of a header of type S, reading the blocks that continue it."""
    extents = list(_pairs(block[_OLD_EXTENTS]))
    more = block[_OLD_CONTINUED]
    while more:
        following = take(BLOCK)
        extents += _pairs(following[_MORE_EXTENTS])
        more = following[_MORE_CONTINUED]
        _bound(len(extents))
    return number(block[_OLD_SIZE]), extents


def from_records(records: list[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Return the extents of pax forms 0.0 (one record each number) and 0.1 (one list)."""
    numbers: list[int] = []
    for key, value in records:
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            numbers.append(pax.whole(value, "sparse map"))
        elif key == b"GNU.sparse.map":
            numbers = [pax.whole(part, "sparse map") for part in value.split(b",") if part]
    return _pair_up(numbers)


def in_data(take: Callable[[int], bytes]) -> tuple[int, list[tuple[int, int]]]:
    """Return (bytes read, extents) of pax form 1.0: decimal lines in blocks before the data."""
    taken = 0
    rest = b""

    def line() -> int:
        nonlocal taken, rest
        while b"\n" not in rest:
            if len(rest) > _MAX_LINE:
                raise BrokenArchive("a sparse file's map is malformed")
            rest += take(BLOCK)
            taken += BLOCK
        text, _, rest = rest.partition(b"\n")
        return pax.whole(text, "sparse map")

    count = line()
    _bound(count)
    return taken, _pair_up([line() for _ in range(2 * count)])


def _pairs(fields: bytes) -> Iterator[tuple[int, int]]:
    for at in range(0, len(fields), _EXTENT):
        extent = fields[at : at + _EXTENT]
        if extent[12:13] == b"\0":
            return
        yield number(extent[:12]), number(extent[12:])


def _pair_up(numbers: list[int]) -> list[tuple[int, int]]:
    _bound(len(numbers) // 2)
    if len(numbers) % 2:
        raise BrokenArchive("a sparse file's map is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _bound(extents: int) -> None:
    if extents > MAX_EXTENTS:
        raise BrokenArchive(f"a sparse file has more than {MAX_EXTENTS:,} pieces")
