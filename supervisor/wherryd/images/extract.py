"""Entries of an archive as files below the current directory, which must be the root: see confine.py.

Owns how an entry becomes a file: owner, mode, times, links, holes. Runs where nothing but the new layer can
be reached, and still never follows a symlink: a folder is used only if this extraction made it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, TypeVar

from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.entries import DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.images.feed import Feed
    from wherryd.images.split import Splitter

T = TypeVar("T")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = 0o7000
_UNIT = 4096
_PRIVATE = 0o700
_IMPLIED = 0o755  # a folder that has no entry of its own


class Extractor:
    """Makes entries; `finish()` gives folders their modes and times, which making files in them would change.

    `current` is the path being worked on, for the error text; `count` and `disk` are the entries made and
    the bytes their data takes, in whole pages. The umask must be 0.
    """

    def __init__(self, feed: Feed, splitter: Splitter) -> None:
        self._feed = feed
        self._splitter = splitter
        # Every folder made so far: such a path has no symlink in it. A folder comes after its parents.
        self._folders: dict[bytes, Entry | None] = {b"": None}
        self._makers: dict[str, Callable[[Entry], None]] = {
            FILE: self._file,
            DIRECTORY: self._directory,
            SYMLINK: self._symlink,
            HARDLINK: self._hardlink,
            FIFO: self._fifo,
        }
        self.current = b""
        self.count = 0
        self.disk = 0

    def add(self, entry: Entry) -> None:
        """Make one entry, taking its data from the feed. Raises BrokenArchive or OSError."""
        self.current = path = entry.path
        self.count += 1
        self.disk += -(-entry.stored // _UNIT) * _UNIT
        if not path:
            if entry.kind != DIRECTORY:
                raise BrokenArchive(f"a {entry.kind} without a name")
        elif path.rpartition(b"/")[0] not in self._folders:
            self._make_parents(path)
        self._makers[entry.kind](entry)

    def finish(self) -> None:
        """Give every folder its owner, mode and time, children first."""
        for path, entry in reversed(self._folders.items()):
            self.current = path
            name = path or b"."
            if entry is None:
                os.chmod(name, _IMPLIED)
                continue
            os.chown(name, entry.uid, entry.gid)
            os.chmod(name, entry.mode)
            for key, value in entry.xattrs:
                os.setxattr(name, key, value)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns))

    def _make_parents(self, path: bytes) -> None:
        parts = path.split(b"/")[:-1]
        for end in range(1, len(parts) + 1):
            parent = b"/".join(parts[:end])
            if parent in self._folders:
                continue
            try:
                os.mkdir(parent, _PRIVATE)
            except FileExistsError:
                kind = "symlink" if stat.S_ISLNK(os.lstat(parent).st_mode) else "file"
                raise BrokenArchive(f"{shown(path)}: its folder {shown(parent)} is a {kind}") from None
            self._folders[parent] = None

    def _file(self, entry: Entry) -> None:
        fd = self._make(entry.path, os.open, entry.path, _CREATE, entry.mode & 0o777)
        try:
            if entry.sparse is None:
                self._copy(fd, entry.path, 0, entry.stored)
            else:
                self._copy_pieces(fd, entry)
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & _SPECIAL:  # after the owner, whose change clears them
                os.fchmod(fd, entry.mode)
            for key, value in entry.xattrs:
                os.setxattr(fd, key, value)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _copy(self, fd: int, path: bytes, offset: int, size: int) -> None:
        self._splitter.content(path, offset, size)
        for piece in self._feed.pieces(size):
            written = os.write(fd, piece)
            while written < len(piece):
                written += os.write(fd, piece[written:])

    def _copy_pieces(self, fd: int, entry: Entry) -> None:
        assert entry.sparse is not None  # noqa: S101 - the caller has looked
        for offset, length in entry.sparse.extents:
            os.lseek(fd, offset, os.SEEK_SET)
            self._copy(fd, entry.path, offset, length)
        os.ftruncate(fd, entry.sparse.size)

    def _directory(self, entry: Entry) -> None:
        if entry.path not in self._folders:
            self._make(entry.path, os.mkdir, entry.path, _PRIVATE)
        self._folders[entry.path] = entry

    def _symlink(self, entry: Entry) -> None:
        self._make(entry.path, os.symlink, entry.link, entry.path)
        self._set_inert(entry)

    def _fifo(self, entry: Entry) -> None:
        self._make(entry.path, os.mkfifo, entry.path, entry.mode & 0o777)
        self._set_inert(entry)

    def _hardlink(self, entry: Entry) -> None:
        target = entry.link
        if target == entry.path:
            return
        if target.rpartition(b"/")[0] not in self._folders or target in self._folders:
            raise BrokenArchive(
                f"{shown(entry.path)}: a hardlink to {shown(target)}, which is not a file here"
            )
        try:
            self._make(entry.path, _link, target, entry.path)
        except FileNotFoundError:
            raise BrokenArchive(
                f"{shown(entry.path)}: a hardlink to {shown(target)}, which is not in the archive before it"
            ) from None

    def _set_inert(self, entry: Entry) -> None:
        if entry.uid or entry.gid:
            os.chown(entry.path, entry.uid, entry.gid, follow_symlinks=False)
        os.utime(entry.path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _make(self, path: bytes, make: Callable[..., T], *args: object) -> T:
        """Make what is to be at `path`; where an earlier entry is in the way, the later one wins."""
        try:
            return make(*args)
        except FileExistsError:
            self._clear(path)
            return make(*args)

    def _clear(self, path: bytes) -> None:
        if path not in self._folders:
            self._splitter.replace(path)
            os.unlink(path)
            return
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            raise BrokenArchive(f"{shown(path)}: takes the place of a folder that is not empty") from None
        del self._folders[path]


def _link(target: bytes, path: bytes) -> None:
    os.link(target, path, follow_symlinks=False)
