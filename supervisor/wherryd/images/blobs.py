"""The files of an image archive by name: in a tar archive that is not compressed, or in a folder.

Owns finding, and reading whole, what is small. Worker side: in a folder, the folder is this process's root,
so that no name and no link leads out of it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import NamedTuple, Protocol

from wherryd.images import header
from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.entries import DIRECTORY, FILE, HARDLINK, SYMLINK, clean_path
from wherryd.images.header import BLOCK
from wherryd.images.tar import TarReader

MAX_FILES = 20_000
"""Far above what an archive of a hundred images with all their layers has."""
_MAX_LINKS = 10
_WINDOW = 64 << 10
_FOLDERS = frozenset((b"blobs",))
_TOPS = frozenset((b"oci-layout", b"index.json", b"manifest.json", b"repositories"))
_HEX = frozenset(b"0123456789abcdef")
_ID = 64  # hex digits


class Place(NamedTuple):
    """Where a blob is: a file's name ("" in an archive, whose own offset it then is), offset, and size."""

    name: str
    offset: int
    size: int


class Blobs(Protocol):
    """Files by name."""

    def place(self, name: str) -> Place | None:
        """Return where a file is; None: there is none of that name."""
        ...

    def read(self, place: Place) -> bytes:
        """Return all of a file."""
        ...


def is_image_file(name: bytes) -> bool:
    """Say whether a name at the top can be one of an image archive's, and is none of a root's."""
    stem = name.partition(b".")[0]
    return name in _TOPS or name in _FOLDERS or (len(stem) == _ID and _HEX.issuperset(stem))


def _path(name: str) -> bytes:
    try:
        return clean_path(os.fsencode(name))
    except UnicodeEncodeError:
        raise BrokenArchive(f"{name!r:.100} is no name of a file") from None


class Seeker:
    """Plain bytes of a file, with a Feed's interface; what is skipped is not read."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._window = b""
        self._start = 0
        self.at = 0

    def at_end(self) -> bool:
        """Say whether no byte is left."""
        return self.at >= self._size

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end, and leave them to be taken."""
        offset = self.at - self._start
        if not 0 <= offset <= len(self._window) - size:
            self._window, self._start, offset = os.pread(self._fd, max(size, _WINDOW), self.at), self.at, 0
        return self._window[offset : offset + size]

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises BrokenArchive if there are fewer."""
        data = self.peek(size)
        self.skip(size)
        return data

    def skip(self, size: int) -> None:
        """Pass over exactly `size` bytes. Raises BrokenArchive if there are fewer."""
        self.at += size
        if self.at > self._size:
            raise BrokenArchive("the archive is truncated")


class TarBlobs:
    """The files of a tar archive that is not compressed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._places: dict[bytes, Place] = {}
        self._links: dict[bytes, bytes] = {}

    @classmethod
    def find(cls, fd: int) -> TarBlobs | None:
        """Return the files if only an image's lie at the top, else None. Raises BrokenArchive."""
        size = os.fstat(fd).st_size
        seeker = Seeker(fd, size)
        if not header.is_header(seeker.peek(BLOCK)):
            return None
        blobs = cls(fd)
        for count, entry in enumerate(TarReader(seeker)):
            if not entry.path and entry.kind == DIRECTORY:
                continue  # the top itself, as `tar -C layout -c .` puts it first
            if not is_image_file(entry.path.partition(b"/")[0]) or count >= MAX_FILES:
                return None
            blobs.add(entry.kind, entry.path, entry.link, Place("", seeker.at, entry.stored))
            seeker.skip(entry.stored)
        return blobs if blobs._places else None

    def add(self, kind: str, path: bytes, link: bytes, place: Place) -> None:
        """Remember an entry; the later of one name counts."""
        self._places.pop(path, None)
        self._links.pop(path, None)
        if kind == FILE:
            self._places[path] = place
        elif kind == HARDLINK:
            self._links[path] = link
        elif kind == SYMLINK:
            self._links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))

    def place(self, name: str) -> Place | None:
        """Return where a file is; None: there is none of that name."""
        path = _path(name)
        for _ in range(_MAX_LINKS):
            path = self._links.get(path, path)
        return self._places.get(path)

    def read(self, place: Place) -> bytes:
        """Return all of a file."""
        return os.pread(self._fd, place.size, place.offset)


class FolderBlobs:
    """The files of the current folder, which must be the root."""

    def place(self, name: str) -> Place | None:
        """Return where a file is; None: there is none of that name."""
        path = os.fsdecode(_path(name))
        try:
            found = os.stat(path)
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise BrokenArchive(f"{shown(os.fsencode(path))}: is no file")
        return Place(path, 0, found.st_size)

    def read(self, place: Place) -> bytes:
        """Return all of a file."""
        fd = os.open(place.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.read(fd, place.size)
        finally:
            os.close(fd)
