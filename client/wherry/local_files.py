"""Our side of export and cp: descriptors for what is to be read or written here.

Owns docker's rules for a path on this machine, and that a file is whole or not there. The container's side
is the supervisor's.
"""

from __future__ import annotations

import errno
import os
import stat

from wherry_protocol.errors import BadRequest, NoSpace, NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal, Self

    from wherry_protocol.errors import WherryError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_TRIES = 100


class Descriptor:
    """`fd` is open while this is entered."""

    fd: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fd)


class Source(Descriptor):
    """What is to be copied: its last `name`, and whether only what is in it (`contents`) is meant."""

    def __init__(self, path: str | os.PathLike[str], *, follow: bool) -> None:
        text = os.fspath(path)
        self.contents = text.endswith("/.") or text == "."
        self.name = os.path.basename(os.path.abspath(text)) or "root"
        if text.rstrip("/") == "":
            self.contents = True
        try:
            self.fd = _open(text, follow=follow or self.contents or text.endswith("/"))
        except OSError as error:
            raise _failure(error, text) from None


class Destination(Descriptor):
    """Where a copy goes: `kind` "directory" (`fd`); "file" or "missing": `name` in the directory `fd`.

    `slash`: the path ends in one, and so must be a directory. `owner` is who copies.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not text:
            raise BadRequest("the path of the destination is empty")
        self.slash = text.endswith(("/", "/."))
        self.owner = (os.geteuid(), os.getegid())
        self.name = ""
        # A symlink is followed: its target is what is written.
        real = os.path.realpath(text)
        self.kind: Literal["directory", "file", "missing"] = _kind(real, text)
        if self.kind != "directory":
            real, self.name = os.path.split(real)
        try:
            self.fd = os.open(real, _DIRECTORY)
        except OSError as error:
            raise _failure(error, real) from None


class Archive(Descriptor):
    """A file that is to appear at a path when it is whole: without a name until `keep`, where that can be."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder, self._name = os.path.split(path)
        self._temporary: str | None = None
        self.fd = self._open()

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fd)
        if self._temporary is not None:
            os.unlink(self._temporary)

    def keep(self) -> None:
        """Give the file its name; one of that name is replaced."""
        if self._temporary is None:
            self._temporary = self._linked()
        os.replace(self._temporary, self._path)
        self._temporary = None

    def _open(self) -> int:
        try:
            return os.open(self._folder or ".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise _failure(error, self._path) from None
        for name in self._names():
            try:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            except OSError as error:
                raise _failure(error, self._path) from None
            self._temporary = name
            return fd
        raise BadRequest(f"{self._path}: no free name for a temporary file beside it")

    def _linked(self) -> str:
        for name in self._names():
            try:
                # With a descriptor given it is linkat(2) that is called, which can follow the first path.
                os.link(f"/proc/self/fd/{self.fd}", name, src_dir_fd=self.fd, follow_symlinks=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise _failure(error, self._path) from None
            return name
        raise BadRequest(f"{self._path}: no free name for a temporary file beside it")

    def _names(self) -> list[str]:
        return [
            os.path.join(self._folder, f".{self._name}.{os.getpid()}.{number}") for number in range(_TRIES)
        ]


class _Special(Descriptor):
    """A device or pipe: written as it is."""

    def __init__(self, path: str) -> None:
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _failure(error, path) from None

    def keep(self) -> None:
        """Nothing more to do."""


def archive_file(path: str | os.PathLike[str]) -> Archive | _Special:
    """Return the file for an archive at `path`, to be entered. Raises BadRequest, NotFound, NoSpace."""
    text = os.fspath(path)
    if not text or text.endswith("/"):
        raise BadRequest(f"{text!r} is no name for a file")
    real = os.path.realpath(text)
    try:
        mode = os.stat(real).st_mode
    except OSError:
        return Archive(real)
    if stat.S_ISDIR(mode):
        raise BadRequest(f"{text}: a directory is there", hint="give the name of a file in it", path=text)
    return Archive(real) if stat.S_ISREG(mode) else _Special(real)


def _open(path: str, *, follow: bool) -> int:
    mode = (os.stat if follow else os.lstat)(path).st_mode
    if stat.S_ISLNK(mode):
        return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if stat.S_ISDIR(mode):
        return os.open(path, _DIRECTORY)
    if not stat.S_ISREG(mode):
        raise BadRequest(f"{path}: neither a file, a directory nor a symlink", path=path)
    return os.open(path, _FILE)


def _kind(real: str, text: str) -> Literal["directory", "file", "missing"]:
    try:
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        raise _failure(error, text) from None
    return "directory" if stat.S_ISDIR(mode) else "file"


def _failure(error: OSError, path: str) -> WherryError:
    reason = (error.strerror or str(error)).lower()
    kind = NotFound if error.errno == errno.ENOENT else NoSpace if error.errno in _FULL else BadRequest
    return kind(f"{path}: {reason}", errno=error.errno, path=path)
