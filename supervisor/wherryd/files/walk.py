"""A tree of files, entry by entry: what each is, and a descriptor to read it from. Never follows a symlink.

Owns the order (a folder, the files in it, then the folders), hardlinks, holes and what is left out. Names and
types may change under it: what it opens is what it tells.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple, Protocol

from wherryd.files.refused import Refused

MAX_NAME = 4000
MAX_DEPTH = 256
"""As of the archives that an image is made from (wherryd.images.entries)."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE)
_NO_XATTRS = (errno.ENOTSUP, errno.ENODATA)
_SECTOR = 512
_CAPABILITY = "security.capability"
_SHOWN = 200


class Meta(NamedTuple):
    """What an entry is like. `size` is of the data, which only files have."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


Extents = tuple[tuple[int, int], ...]
"""(offset, length) of each piece of a sparse file that holds data."""


class Sink(Protocol):
    """What takes entries. `path` is relative; b"" is the tree's root itself."""

    def directory(self, path: bytes, meta: Meta) -> None: ...  # noqa: D102 - named for what it takes
    def file(self, path: bytes, meta: Meta, fd: int, extents: Extents | None) -> None: ...  # noqa: D102 - as above
    def symlink(self, path: bytes, meta: Meta, target: bytes) -> None: ...  # noqa: D102 - as above
    def hardlink(self, path: bytes, meta: Meta, target: bytes) -> None: ...  # noqa: D102 - as above
    def fifo(self, path: bytes, meta: Meta) -> None: ...  # noqa: D102 - as above


class Walker:
    """Feeds a sink. `pseudo` are the device numbers of file systems that hold no files of anybody's.

    `avoid` is the device and inode of a folder that a copy goes to, which must not be walked into.
    `left_out` are the paths of sockets and device nodes, which no archive brings and no copy makes.
    """

    def __init__(self, sink: Sink, pseudo: frozenset[int] = frozenset()) -> None:
        self._sink = sink
        self._pseudo = pseudo
        self.avoid: tuple[int, int] | None = None
        self._first_names: dict[tuple[int, int], bytes] = {}
        self.entries = 0
        self.left_out: list[bytes] = []

    def tree(self, parent: int, name: str, path: bytes) -> None:
        """Feed what `name` in the folder open at `parent` is, as `path`, with all that is in it."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            _expect_gone(error)
            return
        if stat.S_ISDIR(found.st_mode):
            self._folder(parent, name, path)
        else:
            self.one(parent, name, path, found)

    def contents(self, folder: int, path: bytes) -> None:
        """Feed what is in the folder open at `folder`, whose own path is `path`."""
        below = path + b"/" if path else b""
        folders: list[tuple[str, bytes]] = []
        for name in sorted(os.listdir(folder)):
            full = below + os.fsencode(name)
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                _expect_gone(error)
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append((name, full))
            else:
                self.one(folder, name, full, found)
        for name, full in folders:
            self._folder(folder, name, full)

    def one(self, parent: int, name: str, path: bytes, found: os.stat_result) -> None:
        """Feed an entry that is no folder."""
        if len(path) > MAX_NAME:
            raise Refused(f"{shown(path)}: the path is longer than {MAX_NAME} bytes")
        if found.st_nlink > 1 and self._is_known(path, found):
            return
        mode = found.st_mode
        if stat.S_ISREG(mode):
            self._file(parent, name, path)
        elif stat.S_ISLNK(mode):
            self._symlink(parent, name, path, found)
        elif stat.S_ISFIFO(mode):
            self.entries += 1
            self._sink.fifo(path, _meta(found))
        else:
            self.left_out.append(path)

    def _is_known(self, path: bytes, found: os.stat_result) -> bool:
        """Feed another name of something that has been fed already."""
        key = (found.st_dev, found.st_ino)
        first = self._first_names.setdefault(key, path)
        if first == path or stat.S_ISSOCK(found.st_mode):
            return False
        self.entries += 1
        self._sink.hardlink(path, _meta(found), first)
        return True

    def _folder(self, parent: int, name: str, path: bytes) -> None:
        if path.count(b"/") >= MAX_DEPTH - 1 or len(path) > MAX_NAME:
            raise Refused(f"{shown(path)}: too deep: more than {MAX_DEPTH} folders or {MAX_NAME} bytes")
        fd = opened(parent, name, _FOLDER)
        if fd is None:
            return
        try:
            self.folder(fd, path)
        finally:
            os.close(fd)

    def folder(self, fd: int, path: bytes) -> None:
        """Feed the folder open at `fd`, with all that is in it."""
        found = self.folder_alone(fd, path)
        if found.st_dev not in self._pseudo:
            self.contents(fd, path)

    def folder_alone(self, fd: int, path: bytes) -> os.stat_result:
        """Feed the folder open at `fd` itself; return what it is."""
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) == self.avoid:
            raise Refused(f"{shown(path)}: a directory cannot be copied into itself")
        self.entries += 1
        self._sink.directory(path, _meta(found, fd))
        return found

    def _file(self, parent: int, name: str, path: bytes) -> None:
        fd = opened(parent, name, _FILE)
        if fd is None:
            return
        try:
            self.file(fd, path)
        finally:
            os.close(fd)

    def file(self, fd: int, path: bytes) -> None:
        """Feed the file open at `fd`."""
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self.left_out.append(path)
            return
        self.entries += 1
        size = found.st_size
        extents = _extents(fd, size) if found.st_blocks * _SECTOR < size else None
        self._sink.file(path, _meta(found, fd, size), fd, extents)

    def link(self, fd: int, path: bytes) -> None:
        """Feed the symlink that `fd` (O_PATH) itself is."""
        self.entries += 1
        self._sink.symlink(path, _meta(os.fstat(fd)), os.readlink(b"", dir_fd=fd))

    def _symlink(self, parent: int, name: str, path: bytes, found: os.stat_result) -> None:
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError as error:
            _expect_gone(error)
            return
        self.entries += 1
        self._sink.symlink(path, _meta(found), os.fsencode(target))


def opened(parent: int, name: str, flags: int) -> int | None:
    """Return a descriptor; None if it has gone or become something else meanwhile."""
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        _expect_gone(error)
        return None


def shown(path: bytes) -> str:
    """Return a path as an error shows it."""
    text = "/" + path.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:_SHOWN])


def _expect_gone(error: OSError) -> None:
    """Pass over what was there a moment ago: a container that is not frozen goes on changing its files."""
    if error.errno not in _GONE:
        raise error


def _meta(found: os.stat_result, fd: int | None = None, size: int = 0) -> Meta:
    return Meta(
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        size,
        attributes(fd) if fd is not None else (),
    )


def attributes(fd: int) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes that an image may bring, as wherryd.images.pax has them."""
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno not in _NO_XATTRS:
            raise
        return ()
    return tuple((name, os.getxattr(fd, name)) for name in names if wanted(name)) if names else ()


def wanted(name: str) -> bool:
    """Say whether an extended attribute is one that an image may bring."""
    return name == _CAPABILITY or (name.startswith("user.") and not name.startswith("user.overlay."))


def _extents(fd: int, size: int) -> Extents | None:
    """Return where the data of a file with holes is (lseek(2), SEEK_DATA); None if it has none."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data after here
                raise
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        found.append((start, at - start))
    os.lseek(fd, 0, os.SEEK_SET)
    return None if found == [(0, size)] else tuple(found)
