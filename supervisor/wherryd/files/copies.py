"""cp in the worker: from the container to a folder of the host or a pipe, and back.

Owns the two directions. Places are found by places.py, files made by treesink.py.
"""

from __future__ import annotations

import os
import select
import stat
from threading import Thread
from typing import TYPE_CHECKING

from wherryd.files import places
from wherryd.files.output import Output
from wherryd.files.records import MAX_TOLD, Done
from wherryd.files.refused import Refused
from wherryd.files.tarsink import TarSink
from wherryd.files.treesink import TreeSink
from wherryd.files.walk import Meta, Walker, shown
from wherryd.images import decompress
from wherryd.images.entries import DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK
from wherryd.images.feed import Feed
from wherryd.images.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.files.job import CopyIn, CopyOut
    from wherryd.files.view import Ground
    from wherryd.images.entries import Entry

_MAGIC = 16
_PUMP = 64 << 10


def copy_out(task: CopyOut, ground: Ground, data: int, report: Callable[[int], None]) -> Done:
    """Copy a path of the container to the descriptor `data`."""
    place = places.source(ground, task.path, follow=task.follow)
    whole = os.path.normpath(task.path) in ("/", "//", ".")
    name = "" if whole else os.path.basename(os.path.normpath(task.path))
    if task.kind == "tar":
        return _pack(place, name, ground, data, report)
    goal = places.Target(data, task.kind, task.name, task.slash, task.told)
    contents = whole or task.path.endswith("/.")
    name = places.name_in(goal, name, folder=place.is_directory, contents=contents)
    sink = TreeSink(data, task.owner, report)
    walker = Walker(sink, ground.pseudo)
    return _copied(walker, sink, lambda: _feed(walker, place, name))


def copy_in(task: CopyIn, ground: Ground, data: int, report: Callable[[int], None]) -> Done:
    """Copy what the descriptor `data` is to a path of the container."""
    goal = places.target(ground, task.path)
    if task.tar:
        if goal.kind != places.DIRECTORY:
            what = "no such directory" if goal.kind == places.MISSING else "not a directory"
            raise Refused(f"{task.path}: {what}: an archive goes into one", kind="not_found")
        sink = TreeSink(goal.folder, task.owner, report)
        return _unpack(sink, data)
    mode = os.fstat(data).st_mode
    name = places.name_in(goal, task.name, folder=stat.S_ISDIR(mode), contents=task.contents)
    sink = TreeSink(goal.folder, task.owner, report)
    walker = Walker(sink)
    return _copied(walker, sink, lambda: _feed_descriptor(walker, data, name, task.name))


def _pack(place: places.Place, name: str, ground: Ground, data: int, report: Callable[[int], None]) -> Done:
    output = Output(data, None, report)
    output.start()
    sink = TarSink(output)
    walker = Walker(sink, ground.pseudo)
    _feed(walker, place, name)
    sink.finish()
    output.close()
    return done(walker, output.written, sink.changed)


def _feed(walker: Walker, place: places.Place, name: str) -> None:
    """Feed a place of the container under another name."""
    if not place.is_directory:
        walker.tree(place.parent, place.name, os.fsencode(name))
        return
    folder = place.open_directory()
    try:
        walker.folder(folder, os.fsencode(name))
    finally:
        os.close(folder)


def _feed_descriptor(walker: Walker, data: int, name: str, told: str) -> None:
    """Feed what the client has opened."""
    mode = os.fstat(data).st_mode
    path = os.fsencode(name)
    if stat.S_ISDIR(mode):
        walker.folder(data, path)
    elif stat.S_ISREG(mode):
        walker.file(data, path)
    elif stat.S_ISLNK(mode):
        walker.link(data, path)
    else:
        raise Refused(f"{told}: neither a file, a directory nor a symlink")


def _copied(walker: Walker, sink: TreeSink, feed: Callable[[], None]) -> Done:
    walker.avoid = sink.avoid
    try:
        feed()
        sink.finish()
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(sink.current)) from error
    return done(walker, sink.size, [])


def done(walker: Walker, size: int, changed: list[bytes]) -> Done:
    """Return the last record of a task that a walker did."""
    left = [f"{shown(path)} (a socket or device)" for path in walker.left_out[:MAX_TOLD]]
    left += [f"{shown(path)} (shrank meanwhile)" for path in changed[: MAX_TOLD - len(left)]]
    return Done(walker.entries, size, tuple(left), len(walker.left_out) + len(changed))


def _unpack(sink: TreeSink, data: int) -> Done:
    """Make the files of a tar archive, compressed or not, below the sink's folder."""
    fd, head = _seen(data)
    feed = Feed(fd, decompress.detect(head), lambda _: None)
    feed.start()
    entries = 0
    try:
        for entry in TarReader(feed):
            _add(sink, entry, feed)
            entries += 1
        feed.drain()
        sink.finish()
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(sink.current)) from error
    return Done(entries, sink.size)


def _add(sink: TreeSink, entry: Entry, feed: Feed) -> None:
    size = entry.sparse.size if entry.sparse is not None else entry.stored
    xattrs = tuple((os.fsdecode(name), value) for name, value in entry.xattrs)
    meta = Meta(entry.mode, entry.uid, entry.gid, entry.mtime_ns, size, xattrs)
    sink.imply(entry.path, meta)
    match entry.kind:
        case _ if entry.kind == DIRECTORY:
            sink.directory(entry.path, meta)
        case _ if entry.kind == FILE:
            sink.make_file(entry.path, meta, lambda fd: _fill(sink, entry, feed, fd))
        case _ if entry.kind == SYMLINK:
            sink.symlink(entry.path, meta, entry.link)
        case _ if entry.kind == HARDLINK:
            sink.hardlink(entry.path, meta, entry.link)
        case _ if entry.kind == FIFO:
            sink.fifo(entry.path, meta)
        case _:
            raise Refused(f"{shown(entry.path)}: a {entry.kind} cannot be copied")


def _fill(sink: TreeSink, entry: Entry, feed: Feed, fd: int) -> None:
    extents = ((0, entry.stored),) if entry.sparse is None else entry.sparse.extents
    for offset, length in extents:
        os.lseek(fd, offset, os.SEEK_SET)
        for piece in feed.pieces(length):
            view = piece
            while view:
                done = os.write(fd, view)
                sink.count(done)
                view = view[done:]


def _seen(data: int) -> tuple[int, bytes]:
    """Return a descriptor of an archive and its first bytes; those of a pipe can be read only once."""
    try:
        return data, os.pread(data, _MAGIC, os.lseek(data, 0, os.SEEK_CUR))
    except OSError:
        pass  # a pipe or socket
    head = b""
    while len(head) < _MAGIC and (more := _read(data, _MAGIC - len(head))):
        head += more
    reader, writer = os.pipe2(os.O_CLOEXEC)
    Thread(target=_pump, args=(data, head, writer), daemon=True, name="pump").start()
    return reader, head


def _pump(data: int, head: bytes, writer: int) -> None:
    piece = head
    try:
        while piece:
            view = memoryview(piece)
            while view:
                view = view[os.write(writer, view) :]
            piece = _read(data, _PUMP)
    finally:
        os.close(writer)


def _read(fd: int, size: int) -> bytes:
    """Read from a descriptor that its owner may have made non-blocking."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll()
