"""What a tar archive holds, as checked values: the vocabulary between reading an archive and making files.

Owns the bounds of names, numbers and depth. Never reads, never touches the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherryd.images.broken import BrokenArchive, shown

if TYPE_CHECKING:
    from wherryd.images.sparse import Sparse

MAX_NAME = 4000
"""Bytes: below PATH_MAX (4096), with room for the folders above the root when a tree is removed by path."""
MAX_DEPTH = 256
"""Folders in one another: a bound for everything that walks the tree later."""

_MAX_ID = 0xFFFFFFFE  # 2**32 - 1 means "leave as it is" to chown(2)
_MAX_TIME = 1 << 40  # seconds; no file system goes further, and utimensat(2) cuts to what it can hold
_NANO = 1_000_000_000

FILE, HARDLINK, SYMLINK, DIRECTORY, FIFO = "file", "hardlink", "symlink", "directory", "fifo"
DEVICE = "device"
"""Of a layer only: a layer may have device nodes, and none is made."""


class Entry(NamedTuple):
    """One entry. `path` is relative, without `.` or `..`; b"" is the root itself.

    `stored` bytes of data follow in the stream and must be taken before the next entry.
    `link` is the target: of a hardlink a path as above, of a symlink any bytes.
    """

    kind: str
    path: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    stored: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    sparse: Sparse | None = None


def clean_path(raw: bytes, *, layer: bool = False) -> bytes:
    """Return the path relative to the root, as GNU tar reads it: leading `/`, `.` and empty parts go.

    Raises BrokenArchive for `..`, for whiteouts unless it is a `layer` (they do not belong to a whole root)
    and for what no file system could hold.
    """
    slashed = b"/" + raw
    if b"/." in slashed or b"//" in slashed or raw[-1:] == b"/":
        parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
        for part in parts:
            _check_part(raw, part, layer=layer)
        raw = b"/".join(parts)
    if len(raw) > MAX_NAME or raw.count(b"/") >= MAX_DEPTH:
        raise BrokenArchive(f"{shown(raw)}: the name is too long or too deep")
    if b"\0" in raw:
        raise BrokenArchive(f"{shown(raw)}: the name holds a NUL byte")
    return raw


def check_target(path: bytes, target: bytes) -> bytes:
    """Return a symlink's target if the kernel can hold it; where it leads is the container's affair."""
    if not target or len(target) > MAX_NAME or b"\0" in target:
        raise BrokenArchive(f"{shown(path)}: the symlink's target is empty, too long or malformed")
    return target


def check_id(path: bytes, number: int) -> int:
    """Return a numeric owner or group that chown(2) takes as it is."""
    if not 0 <= number <= _MAX_ID:
        raise BrokenArchive(f"{shown(path)}: {number} is no user or group id")
    return number


def check_time(path: bytes, nanoseconds: int) -> int:
    """Return a time that utimensat(2) takes."""
    if abs(nanoseconds) > _MAX_TIME * _NANO:
        raise BrokenArchive(f"{shown(path)}: the modification time is out of range")
    return nanoseconds


def _check_part(raw: bytes, part: bytes, *, layer: bool) -> None:
    if part == b"..":
        raise BrokenArchive(f"{shown(raw)}: the name has a '..' in it")
    if part.startswith(b".wh.") and not layer:
        raise BrokenArchive(
            f"{shown(raw)}: a whiteout, which belongs to a layer and not to a whole root file system",
            "give the archive of a whole root file system, as `docker export` makes it",
        )
