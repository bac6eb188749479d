"""The steps from a full piece to the next one, and what to make of those that a crash broke off.

    1  the index gets its second name     log.index.PLACE     the same file as log.index
    2  the bytes get theirs               log.PLACE           the same file as log
    3  a new index takes log.index        it says where the new piece begins
    4  a new file takes log               both by rename: at every instant somebody finds a file there

Whoever finds `log` or its index under two names goes on from there: every step may be done twice. Nothing is
renamed away, so that a `tail -F` never finds the name missing.

Owns these steps and the removal of the oldest pieces. Used by one thread at a time.
"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from errno import ENOSPC
from typing import TYPE_CHECKING

from wherryd.kernel import failpoints
from wherryd.logs.index import Index, Record
from wherryd.logs.pieces import (
    PACKED,
    data_path,
    index_path,
    kept_data,
    kept_index,
    kept_places,
    open_regular,
)

if TYPE_CHECKING:
    from pathlib import Path

_NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC


def turn(directory: Path, base: int, first: Record) -> tuple[int, int]:
    """Put the piece that begins at `base` aside; return the descriptors of the next one, data and index.

    `first` is the next one's first record. Raises OSError, and can then be called again.
    """
    failpoints.hit("rotate.begin")
    _link(index_path(directory), kept_index(directory, base))
    _link(data_path(directory), kept_data(directory, base))
    failpoints.hit("rotate.linked")
    index = new_index(directory, [first])
    try:
        failpoints.hit("rotate.indexed")
        data = _new_data(directory)
    except BaseException:
        os.close(index)
        raise
    return data, index


def new_index(directory: Path, records: list[Record]) -> int:
    """Put a new index in the old one's place; return its descriptor. Raises OSError."""
    path = index_path(directory)
    fd = open_regular(path + ".new", _NEW)
    try:
        _fill(fd, b"".join([record.pack() for record in records]), path)
        os.rename(path + ".new", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _fill(fd: int, content: bytes, path: str) -> None:
    if os.write(fd, content) != len(content):
        raise OSError(ENOSPC, os.strerror(ENOSPC), path)


def _new_data(directory: Path) -> int:
    path = data_path(directory)
    fd = open_regular(path + ".new", _NEW)
    try:
        os.rename(path + ".new", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _link(path: str, name: str) -> None:
    try:
        os.link(path, name, follow_symlinks=False)
    except FileExistsError:
        if not os.path.samefile(path, name):
            os.unlink(name)  # of a piece that somebody removed by hand since
            os.link(path, name, follow_symlinks=False)


def finish(directory: Path) -> None:
    """Do what is left of a rotation that a crash broke off. Raises OSError."""
    data, index = data_path(directory), index_path(directory)
    for place in kept_places(directory)[::-1]:
        if not _same(data, kept_data(directory, place)):
            continue
        if _same(index, kept_index(directory, place)) or not os.path.exists(index):
            end = place + os.stat(data).st_size
            last = _last(kept_index(directory, place))
            os.close(new_index(directory, [Record(offset=end, stream=1, time=last.time, steps=last.steps)]))
        os.close(_new_data(directory))
        return
    with suppress(FileNotFoundError):
        # Only the first step was done: the second name of the index goes.
        base = _first(index).offset
        if not os.path.exists(kept_data(directory, base)) and _same(index, kept_index(directory, base)):
            os.unlink(kept_index(directory, base))


def _same(path: str, name: str) -> bool:
    try:
        return os.path.samefile(path, name)
    except FileNotFoundError:
        return False


def _first(path: str) -> Record:
    return _record(path, first=True)


def _last(path: str) -> Record:
    return _record(path, first=False)


def _record(path: str, *, first: bool) -> Record:
    fd = open_regular(path, os.O_RDONLY)
    try:
        index = Index(fd)
        return index.record(0 if first else max(index.count() - 1, 0))
    finally:
        os.close(fd)


def remove(directory: Path, place: int) -> None:
    """Remove the full piece that begins at a place; nothing happens when somebody did. Raises OSError."""
    path = kept_data(directory, place)
    # The packer (packing.py) takes its own back when it finds the first of these gone.
    for name in (path, path + PACKED, kept_index(directory, place)):
        with suppress(FileNotFoundError):
            os.unlink(name)


def opened_by_others(fd: int) -> bool:
    """Say whether somebody else has a file open that we have open for writing, once.

    A write lease says so (fcntl(2), F_SETLEASE): it is granted to whoever is alone. Where the file system
    knows no leases, nobody is seen.
    """
    try:
        # Should somebody open it in this very moment we get the signal, which by default does nothing;
        # that of a lease, SIGIO, would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
