"""The worker process: enters a container's files, does one task, tells its parent over a pipe, and ends.

Descriptor 1 is the pipe for records (records.py); the argument is the job, with the number of the descriptor
of the data (job.py). `Read` goes out at most ten times a second, `Done` or `Failed` is the last.
Must never import trio or anything that talks to a supervisor: what it sees is hostile.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from threading import Thread
from typing import TYPE_CHECKING

from wherryd.files import changes, copies
from wherryd.files.job import Compare, CopyIn, CopyOut, Pack, decode
from wherryd.files.output import Output, compressor
from wherryd.files.records import Changes, Done, encode
from wherryd.files.refused import Refused
from wherryd.files.tarsink import TarSink
from wherryd.files.view import enter
from wherryd.files.walk import Walker
from wherryd.images import decompress
from wherryd.images.broken import BrokenArchive
from wherryd.images.confine import drop
from wherryd.images.records import Failed, Read
from wherryd.kernel.capabilities import last_cap
from wherryd.kernel.errors import KernelError
from wherryd.kernel.process import set_title

if TYPE_CHECKING:
    from wherryd.files.job import Task
    from wherryd.files.records import Kind, Record
    from wherryd.files.view import Ground

NOTHING, RECORDS = 0, 1

_INTERVAL = 0.1
_LONGEST = 1000
_DESCRIPTORS = 1024
"""One for each folder on the way down, which walk.MAX_DEPTH bounds, and some."""

_CHANGES_AT_ONCE = 200  # their paths are at most 4 KiB long, and a frame on the control socket is bounded
_CAPABILITIES = {
    Pack: ("dac_read_search",),
    Compare: ("dac_read_search",),
    CopyOut: ("dac_read_search", "dac_override", "chown", "fowner", "fsetid", "setfcap"),
    CopyIn: ("dac_read_search", "dac_override", "chown", "fowner", "fsetid", "setfcap"),
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Reporter:
    """Writes records to the parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = 0.0

    def read(self, total: int) -> None:
        """Tell how many bytes have passed, now and then."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self.send(Read(total))

    def send(self, record: Record) -> None:
        """Write one record."""
        view = memoryview(encode(record))
        while view:
            view = view[os.write(self._fd, view) :]


def main(text: str) -> None:
    """Do the work; the outcome is the last record."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    reporter = Reporter(RECORDS)
    try:
        set_title("wherryd: files")
        view, task, data = decode(text)
        _prepare(task)
        highest = last_cap()
        ground = enter(view)
        drop(_CAPABILITIES[type(task)], highest, _DESCRIPTORS)
        Thread(target=_end_with_parent, daemon=True).start()
        reporter.send(_perform(task, ground, NOTHING if data is None else data, reporter))
    except BaseException as error:  # noqa: BLE001 - the parent is told of everything
        reporter.send(failure(error))


def _prepare(task: Task) -> None:
    """Load what the task needs, before the root of the file system is gone."""
    if isinstance(task, Pack):
        compressor(task.compression)
    elif isinstance(task, CopyIn) and task.tar:
        for name in ("gzip", "bzip2", "xz", "zstd"):
            decompress.prepare(name)


def _perform(task: Task, ground: Ground, data: int, reporter: Reporter) -> Done:
    match task:
        case Pack():
            return _pack(task, ground, data, reporter)
        case Compare():
            return _compare(task, ground, reporter)
        case CopyOut():
            return copies.copy_out(task, ground, data, reporter.read)
        case CopyIn():
            return copies.copy_in(task, ground, data, reporter.read)


def _pack(task: Pack, ground: Ground, data: int, reporter: Reporter) -> Done:
    output = Output(data, task.compression, reporter.read)
    output.start()
    sink = TarSink(output)
    walker = Walker(sink, ground.pseudo)
    if task.layer:
        changes.write_layer(ground, frozenset(task.ours), walker, sink)
    else:
        walker.folder(ground.root, b"")
    sink.finish()
    output.close()
    return copies.done(walker, output.written, sink.changed)


def _compare(task: Compare, ground: Ground, reporter: Reporter) -> Done:
    found = changes.find(ground, frozenset(task.ours))
    entries: list[tuple[Kind, str]] = [(each.kind, "/" + os.fsdecode(each.path)) for each in found]
    for start in range(0, len(entries), _CHANGES_AT_ONCE):
        reporter.send(Changes(tuple(entries[start : start + _CHANGES_AT_ONCE])))
    return Done(len(entries), 0)


def failure(error: BaseException) -> Failed:
    """Return what went wrong, by whose fault it is."""
    if isinstance(error, Refused):
        return Failed(error.kind, str(error), error.hint)
    if isinstance(error, BrokenArchive):
        return Failed("image", f"the archive cannot be used: {error}", error.hint)
    if isinstance(error, BrokenPipeError):
        return Failed("bad_request", "nobody reads the archive any more", errno=error.errno)
    if isinstance(error, KernelError):
        return Failed("kernel", str(error), errno=error.errno)
    if isinstance(error, OSError):
        kind = "no_space" if error.errno in _NO_SPACE else "kernel"
        where = f"{error.filename}: " if error.filename else ""
        hint = "it is mounted read-only" if error.errno == errno.EROFS else None
        reason = (error.strerror or str(error)).lower()
        return Failed(kind, f"{where}{reason}", hint, error.errno)
    return Failed("internal", f"{type(error).__name__}: {error}"[:_LONGEST])


def _end_with_parent() -> None:
    """End this process at once when nobody hears its records: an orphan would work for nobody."""
    waiter = select.poll()
    waiter.register(RECORDS, 0)
    waiter.poll()
    os._exit(1)
