"""Entries as files below a folder that is there already, and may be changed by others meanwhile.

Owns how a copy becomes a file: what it may take the place of, owner, mode, times, links, holes. Every path is
resolved by the kernel from the folder's descriptor, without any symlink: nothing is made elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from wherryd.files.newfile import NewFile
from wherryd.files.refused import Refused
from wherryd.files.walk import shown
from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.files.walk import Extents, Meta

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STRICT = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
_PIECE = 8 << 20
_IMPLIED = 0o755  # a folder that an archive has no entry for
_PLAIN_MODE = 0o1777  # without set-user-id and set-group-id
_NO_FAST_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


class TreeSink:
    """Makes entries below the folder open at `base`.

    With an `owner` everything is theirs, without special modes and capabilities; None keeps both.
    `on_bytes` is told how many bytes of files have been written. A folder that was there stays as it is.
    `avoid` is the device and inode of `base`: a walk that comes there copies a folder into itself.
    """

    def __init__(self, base: int, owner: tuple[int, int] | None, on_bytes: Callable[[int], None]) -> None:
        self._base = base
        self._owner = owner
        self._on_bytes = on_bytes
        self._made: dict[bytes, Meta] = {}
        self._parent = (b"", os.dup(base))
        self.current = b""
        self.size = 0
        found = os.fstat(base)
        self.avoid = (found.st_dev, found.st_ino)

    def directory(self, path: bytes, meta: Meta) -> None:
        """Make a folder, or take the one that is there."""
        self.current = path
        if not path:
            return
        parent, name = self.place(path)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise Refused(f"{shown(path)}: cannot overwrite non-directory with directory") from None
            return
        self._made[path] = meta

    def file(self, path: bytes, meta: Meta, fd: int, extents: Extents | None) -> None:
        """Make a file with what is in the one open at `fd`."""
        pieces = ((0, meta.size),) if extents is None else extents

        def fill(to: int) -> None:
            for offset, length in pieces:
                self._copy(fd, to, offset, length)

        self.make_file(path, meta, fill)

    def make_file(self, path: bytes, meta: Meta, fill: Callable[[int], None]) -> None:
        """Make a file, filled by a function that is given its descriptor; `meta.size` is its size then.

        Where others may look it is there when it is whole; until then what was there before is.
        """
        self.current = path
        parent, name = self.place(path)
        new = NewFile(parent, name, path, fresh=path.rpartition(b"/")[0] in self._made)
        try:
            fill(new.fd)
            os.ftruncate(new.fd, meta.size)
            new.put(lambda fd: self._finish(fd, meta))
        finally:
            new.close()

    def symlink(self, path: bytes, meta: Meta, target: bytes) -> None:
        """Make a symlink; where it leads is not looked at."""
        self._make(path, lambda parent, name: os.symlink(target, name, dir_fd=parent))
        self._finish_inert(path, meta)

    def fifo(self, path: bytes, meta: Meta) -> None:
        """Make a named pipe."""
        self._make(path, lambda parent, name: os.mkfifo(name, meta.mode & 0o777, dir_fd=parent))
        self._finish_inert(path, meta)

    def hardlink(self, path: bytes, meta: Meta, target: bytes) -> None:
        """Make another name of an entry that came before."""
        del meta
        if path == target:
            return
        folder, _, first = target.rpartition(b"/")
        source = self._open_folder(folder)
        try:
            self._make(
                path,
                lambda parent, name: os.link(
                    first, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
                ),
            )
        finally:
            os.close(source)

    def finish(self) -> None:
        """Give every folder that was made its owner, mode and time, children first."""
        for path, meta in reversed(self._made.items()):
            self.current = path
            parent, name = self.place(path)
            fd = os.open(name, _FOLDER, dir_fd=parent)
            try:
                self._finish(fd, meta)
            finally:
                os.close(fd)

    def place(self, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the folder that an entry is in, for the moment, and the entry's name."""
        folder, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            raise Refused(f"{shown(path)}: the name cannot be")
        if folder != self._parent[0]:
            opened = self._open_folder(folder)
            os.close(self._parent[1])
            self._parent = (folder, opened)
        return self._parent[1], name

    def imply(self, path: bytes, meta: Meta) -> None:
        """Make the folders that `path` is in, where an archive does not name them first."""
        parts = path.split(b"/")[:-1]
        for end in range(1, len(parts) + 1):
            folder = b"/".join(parts[:end])
            if folder not in self._made:
                self.directory(folder, meta._replace(mode=_IMPLIED, xattrs=()))

    def _open_folder(self, folder: bytes) -> int:
        if not folder:
            return os.dup(self._base)
        try:
            return openat2(self._base, os.fsdecode(folder), _FOLDER, 0, _STRICT)
        except KernelError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(f"{shown(folder)}: cannot overwrite non-directory with directory") from None
            raise

    def _make(self, path: bytes, make: Callable[[int, bytes], None]) -> None:
        self.current = path
        parent, name = self.place(path)
        try:
            make(parent, name)
        except FileExistsError:
            if not self._clear(parent, name, path):
                raise Refused(f"{shown(path)}: something is mounted there") from None
            make(parent, name)

    def _clear(self, parent: int, name: bytes, path: bytes) -> bool:
        """Take away what is in the way; False if something is mounted on it. Raises Refused for a folder."""
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Refused(f"{shown(path)}: cannot overwrite directory with non-directory")
        try:
            os.unlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def _copy(self, source: int, to: int, offset: int, length: int) -> None:
        """Copy a piece of a file; less, if the source has become shorter."""
        os.lseek(to, offset, os.SEEK_SET)
        at, end = offset, offset + length
        fast = True
        while at < end:
            size = min(end - at, _PIECE)
            try:
                done = os.copy_file_range(source, to, size, at) if fast else os.sendfile(to, source, at, size)
            except OSError as error:
                if not fast or error.errno not in _NO_FAST_COPY:
                    raise
                fast = False
                continue
            if done == 0:
                return
            at += done
            self.count(done)

    def count(self, size: int) -> None:
        """Tell of bytes that were written."""
        self.size += size
        self._on_bytes(self.size)

    def _finish(self, fd: int, meta: Meta) -> None:
        if self._owner is None:
            os.fchown(fd, meta.uid, meta.gid)
            os.fchmod(fd, meta.mode)
        else:
            os.fchown(fd, *self._owner)
            os.fchmod(fd, meta.mode & _PLAIN_MODE)
        for name, value in meta.xattrs:
            if name.startswith("user."):
                _set_user_attribute(fd, name, value)
            elif self._owner is None:
                os.setxattr(fd, name, value)
        os.utime(fd, ns=(meta.mtime_ns, meta.mtime_ns))

    def _finish_inert(self, path: bytes, meta: Meta) -> None:
        parent, name = self.place(path)
        uid, gid = self._owner or (meta.uid, meta.gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(meta.mtime_ns, meta.mtime_ns), dir_fd=parent, follow_symlinks=False)


def _set_user_attribute(fd: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        # As cp of every system: a file system that cannot hold them is no reason not to copy.
        if error.errno != errno.ENOTSUP:
            raise
