"""A file that is there whole or not at all, whoever reads beside, and whenever the writer is killed.

Owns the way to it: what comes is written to a file without a name (O_TMPFILE), which takes its place,
and that of what was there before, when it is complete. A file system that has no such files gets
one with a name that nobody looks for: a writer that is killed leaves that behind.
Must never follow a symlink: the folder is the caller's, but others may change what is in it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from wherryd.files.refused import Refused
from wherryd.files.walk import shown
from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import AT_EMPTY_PATH, linkat

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OVER = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_PRIVATE = 0o600
_PIECE = 8 << 20


class NewFile:
    """A file that will be `name` in the folder open at `parent`; `path` is for error texts.

    With `fresh` the folder is as new as the file: nobody expects it to be whole, and the file has its name
    from the start, which costs less. Raises Refused, before anything is written, if a folder is there. To be
    closed by its maker; what was not put into its place is gone then.
    """

    def __init__(self, parent: int, name: bytes, path: bytes, *, fresh: bool = False) -> None:
        self._parent, self._name, self._path = parent, name, path
        self._beside: bytes | None = None  # the name that it has and is not to keep
        if fresh:
            try:
                self.fd = os.open(name, _NAMED, _PRIVATE, dir_fd=parent)
            except FileExistsError:
                pass  # an archive can have it twice
            else:
                self._beside = name
                return
        if _is_folder(parent, name):
            raise self._in_the_way("cannot overwrite directory with non-directory")
        try:
            self.fd = os.open(".", _NAMELESS, _PRIVATE, dir_fd=parent)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            beside = _unlikely()
            self.fd = os.open(beside, _NAMED, _PRIVATE, dir_fd=parent)
            self._beside = beside

    def put(self, finish: Callable[[int], None]) -> None:
        """Give it what `finish` gives a descriptor (owner, mode, times), then the name."""
        finish(self.fd)
        if self._beside == self._name:
            self._beside = None
            return
        if self._beside is None:
            try:
                linkat(self.fd, b"", self._parent, self._name, AT_EMPTY_PATH)
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
            else:
                return
            beside = _unlikely()
            linkat(self.fd, b"", self._parent, beside, AT_EMPTY_PATH)
            self._beside = beside
        try:
            os.rename(self._beside, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except IsADirectoryError:
            raise self._in_the_way("cannot overwrite directory with non-directory") from None
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self._write_over(finish)
        else:
            self._beside = None

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)
        if self._beside is not None:
            with suppress(FileNotFoundError):  # who else is in the folder may have removed it
                os.unlink(self._beside, dir_fd=self._parent)

    def _write_over(self, finish: Callable[[int], None]) -> None:
        """Something is mounted on it, as on /etc/hosts: it stays, with new contents."""
        to = os.open(self._name, _OVER, dir_fd=self._parent)
        try:
            if not stat.S_ISREG(os.fstat(to).st_mode):
                raise self._in_the_way("a device is there")
            at = 0
            while done := os.sendfile(to, self.fd, at, _PIECE):
                at += done
            finish(to)
        finally:
            os.close(to)

    def _in_the_way(self, why: str) -> Refused:
        return Refused(f"{shown(self._path)}: {why}")


def _is_folder(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlikely() -> bytes:
    """Return a name that nobody has, for the moment."""
    return b".wherry-" + secrets.token_hex(8).encode()
