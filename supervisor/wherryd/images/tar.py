"""A tar stream as entries: headers with all their extensions resolved. Never touches the disk.

Understands V7, ustar, pax and GNU archives (tar(5)); refuses what has no place in a root file system.
A layer may have more: whiteouts, device nodes (DEVICE entries), and nothing at all.
Reading stops at the first block of zeros, as GNU tar does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd.images import entries, header, looks, pax, sparse
from wherryd.images.broken import BrokenArchive, TooShort, shown
from wherryd.images.entries import DEVICE, DIRECTORY, FIFO, FILE, HARDLINK, MAX_NAME, SYMLINK, Entry
from wherryd.images.header import BLOCK, Header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Bytes(Protocol):
        """What a reader needs of a Feed."""

        def at_end(self) -> bool: ...  # noqa: D102 - as of Feed
        def peek(self, size: int) -> bytes: ...  # noqa: D102 - as of Feed
        def take(self, size: int) -> bytes: ...  # noqa: D102 - as of Feed
        def skip(self, size: int) -> None: ...  # noqa: D102 - as of Feed


MAX_ENTRIES = 2_000_000
MAX_PAX = 1 << 20
"""Bytes of one extended header: attributes are bounded by the kernel at 64 KiB each."""
_MAX_SIZE = 1 << 62
_MAX_HEADERS = 4 * MAX_ENTRIES  # an entry may have a long name, a long link and an extended header before it
_NANO = 1_000_000_000

_KINDS = {
    b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE,
    b"1": HARDLINK, b"2": SYMLINK, b"5": DIRECTORY, b"D": DIRECTORY, b"6": FIFO,
}  # fmt: skip
_REFUSED = {
    b"3": "is a character device; an image brings no devices",
    b"4": "is a block device; an image brings no devices",
    b"M": "continues from another volume",
}


_DEVICES = (b"3", b"4")


class TarReader:
    """Entries of the archive in `feed`, in order. Iterating raises BrokenArchive."""

    def __init__(self, feed: Bytes, *, layer: bool = False) -> None:
        self._feed = feed
        self._layer = layer
        self._globals: pax.Records = {}
        self._name = self._link = b""
        self._records: list[tuple[bytes, bytes]] = []

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        for block in self._headers():
            head = header.parse(block)
            extend = self._EXTENSIONS.get(head.kind)
            if extend:
                extend(self, head)
                continue
            count += 1
            if count > MAX_ENTRIES:
                raise BrokenArchive(f"the archive has more than {MAX_ENTRIES:,} entries")
            entry = self._entry(head, block)
            self._name = self._link = b""
            self._records = []
            yield entry
            self._skip_padding(-entry.stored % BLOCK)
        if count == 0 and not self._layer:
            raise BrokenArchive("the archive is empty")
        if self._name or self._link or self._records:
            raise BrokenArchive("the archive is truncated")

    def _skip_padding(self, size: int) -> None:
        try:
            self._feed.skip(size)
        except TooShort:
            # umoci ends a layer right after the last byte of data; that it is whole, its digest says
            if not self._layer:
                raise

    def _headers(self) -> Iterator[bytes]:
        head = self._feed.peek(BLOCK)
        if head != header.ZEROS and not header.is_header(head):
            raise BrokenArchive(f"it is no tar archive: {looks.describe(head)}")
        for _ in range(_MAX_HEADERS):
            if self._feed.at_end():
                return
            block = self._feed.take(BLOCK)
            if block == header.ZEROS:
                return
            yield block
        raise BrokenArchive(f"the archive has more than {_MAX_HEADERS:,} headers")

    def _entry(self, head: Header, block: bytes) -> Entry:
        name = self._name or (head.prefix + b"/" + head.name if head.prefix else head.name)
        size = head.size
        if self._globals or self._records or head.kind == b"S":
            return self._extended(head, block, name)
        kind = self._kind(head.kind, name)
        path = entries.clean_path(name, layer=self._layer)
        return Entry(
            kind,
            path,
            self._target(kind, path, self._link or head.link),
            head.mode & 0o7777,
            entries.check_id(path, head.uid),
            entries.check_id(path, head.gid),
            entries.check_time(path, head.mtime * _NANO),
            self._stored(head.kind, kind, path, size),
        )

    def _extended(self, head: Header, block: bytes, name: bytes) -> Entry:
        """Return an entry that extended headers, or GNU's old form of sparse files, have a say in."""
        records = dict(self._globals)
        pax.apply(records, self._records)
        name = records.get(b"GNU.sparse.name") or records.get(b"path") or name
        path = entries.clean_path(name, layer=self._layer)
        kind = self._kind(head.kind, name)
        link = records.get(b"linkpath") or self._link or head.link
        size = pax.whole(records[b"size"], "size") if b"size" in records else head.size
        mtime = pax.nanoseconds(records[b"mtime"]) if b"mtime" in records else head.mtime * _NANO
        stored = self._stored(head.kind, kind, path, size)
        taken, sparse_map = self._sparse(head.kind, block, records, stored)
        return Entry(
            kind,
            path,
            self._target(kind, path, link),
            head.mode & 0o7777,
            entries.check_id(path, pax.whole(records[b"uid"], "uid") if b"uid" in records else head.uid),
            entries.check_id(path, pax.whole(records[b"gid"], "gid") if b"gid" in records else head.gid),
            entries.check_time(path, mtime),
            stored - taken,
            pax.xattrs(records),
            sparse_map,
        )

    def _kind(self, typeflag: bytes, name: bytes) -> str:
        kind = _KINDS.get(typeflag)
        if kind is None:
            if self._layer and typeflag in _DEVICES:
                return DEVICE
            reason = _REFUSED.get(typeflag, f"has an unknown type ({shown(typeflag)!r})")
            raise BrokenArchive(f"{shown(name)}: {reason}")
        # before there was a type for directories, a slash at the end made one
        return DIRECTORY if kind == FILE and name.endswith(b"/") else kind

    def _target(self, kind: str, path: bytes, link: bytes) -> bytes:
        if kind == SYMLINK:
            return entries.check_target(path, link)
        if kind == HARDLINK:
            return entries.clean_path(link, layer=self._layer)
        return b""

    def _stored(self, typeflag: bytes, kind: str, path: bytes, size: int) -> int:
        """Return how many bytes of data follow, which only a file has."""
        if not 0 <= size <= _MAX_SIZE:
            raise BrokenArchive(f"{shown(path)}: {size} is no size")
        if kind == FILE:
            return size
        if typeflag == b"D":  # an incremental backup's list of names
            self._feed.skip(size + -size % BLOCK)
        elif size and kind != HARDLINK:
            # a hardlink's size is its target's; for the others programs disagree whether data follows
            raise BrokenArchive(f"{shown(path)}: a {kind} with a size of {size} bytes")
        return 0

    def _sparse(
        self, typeflag: bytes, block: bytes, records: pax.Records, stored: int
    ) -> tuple[int, sparse.Sparse | None]:
        """Return (bytes taken from the entry's data, map or None)."""
        taken = 0
        if typeflag == b"S":
            size, extents = sparse.old_gnu(block, self._feed.take)
        elif records.get(b"GNU.sparse.major") == b"1":
            taken, extents = sparse.in_data(self._feed.take)
            size = pax.whole(records.get(b"GNU.sparse.realsize", b""), "sparse size")
        elif b"GNU.sparse.size" in records:
            extents = sparse.from_records(self._records)
            size = pax.whole(records[b"GNU.sparse.size"], "sparse size")
        else:
            return 0, None
        return taken, sparse.checked(size, extents, stored - taken)

    def _data(self, head: Header, limit: int) -> bytes:
        if not 0 <= head.size <= limit:
            raise BrokenArchive(f"an extension header of {head.size:,} bytes, more than {limit:,}")
        data = self._feed.take(head.size)
        self._feed.skip(-head.size % BLOCK)
        return data

    def _long_name(self, head: Header) -> None:
        self._name = self._data(head, MAX_NAME + 1).partition(b"\0")[0]

    def _long_link(self, head: Header) -> None:
        self._link = self._data(head, MAX_NAME + 1).partition(b"\0")[0]

    def _pax(self, head: Header) -> None:
        self._records += pax.parse(self._data(head, MAX_PAX))
        if len(self._records) > 2 * sparse.MAX_EXTENTS:
            raise BrokenArchive("an entry has too many extended headers")

    def _pax_globals(self, head: Header) -> None:
        pax.apply(self._globals, pax.parse(self._data(head, MAX_PAX)))
        if sum(map(len, self._globals.values())) > MAX_PAX:
            raise BrokenArchive(f"global extended headers of more than {MAX_PAX:,} bytes")

    def _volume_label(self, head: Header) -> None:
        self._data(head, MAX_PAX)

    _EXTENSIONS = {  # noqa: RUF012 - a table that nobody writes
        b"L": _long_name,
        b"K": _long_link,
        b"x": _pax,
        b"X": _pax,
        b"g": _pax_globals,
        b"V": _volume_label,
    }
