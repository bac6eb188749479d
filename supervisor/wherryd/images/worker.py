"""The worker process: fills one folder from one archive, tells its parent over a pipe, and ends.

Descriptor 0 is the archive, opened by the supervisor; 1 is the pipe for records (records.py); the argument is
the folder. `Read` goes out at most ten times a second, `Done` or `Failed` is the last.
Must never import trio or anything that talks to a supervisor: what it reads is hostile.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from threading import Thread

from wherryd.images import decompress
from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.confine import confine
from wherryd.images.extract import Extractor
from wherryd.images.feed import Feed
from wherryd.images.records import Done, Failed, Read, Record, encode
from wherryd.images.tar import TarReader
from wherryd.kernel.errors import KernelError
from wherryd.kernel.process import set_title

ARCHIVE, RECORDS = 0, 1
_INTERVAL = 0.1
_LONGEST = 1000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UNFIT = (
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EFBIG,
    errno.ENOTSUP,
    errno.ERANGE,
    errno.E2BIG,
    errno.EMLINK,
)
_LAYERS = frozenset(("oci-layout", "manifest.json"))
_ROOT = frozenset(("bin", "usr", "etc", "lib", "dev"))


class Reporter:
    """Writes records to the parent; a parent that is gone ends this process (SIGPIPE)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = 0.0

    def read(self, total: int) -> None:
        """Tell how many bytes of the archive have been read, now and then."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self.send(Read(total))

    def send(self, record: Record) -> None:
        """Write one record."""
        os.write(self._fd, encode(record))


def main(folder: str) -> None:
    """Do the work; the outcome is the last record."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    reporter = Reporter(RECORDS)
    try:
        set_title("wherryd: unpack")
        compression = decompress.detect(os.pread(ARCHIVE, 16, 0))
        decompress.prepare(compression)
        confine(folder)
        Thread(target=_end_with_parent, daemon=True).start()
        reporter.send(_unpack(compression, reporter))
    except BaseException as error:  # noqa: BLE001 - the parent is told of everything
        reporter.send(failure(error))


def failure(error: BaseException) -> Failed:
    """Return what went wrong, by whose fault it is."""
    if isinstance(error, BrokenArchive):
        return Failed("archive", str(error), error.hint)
    if isinstance(error, MemoryError):
        return Failed("archive", "reading it needs too much memory")
    if isinstance(error, KernelError):
        return Failed("kernel", str(error), errno=error.errno)
    if isinstance(error, OSError):
        kind = "no_space" if error.errno in _NO_SPACE else "archive" if error.errno in _UNFIT else "kernel"
        where = f"{error.filename}: " if error.filename else ""
        return Failed(kind, f"{where}{error.strerror}", errno=error.errno)
    return Failed("internal", f"{type(error).__name__}: {error}"[:_LONGEST])


def _unpack(compression: str | None, reporter: Reporter) -> Done:
    feed = Feed(ARCHIVE, compression, reporter.read)
    feed.start()
    extractor = Extractor(feed)
    try:
        for entry in TarReader(feed):
            extractor.add(entry)
        feed.drain()
        _refuse_layers(os.listdir("."))
        extractor.finish()
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(extractor.current) or "/") from error
    return Done(extractor.count, extractor.disk, feed.digest)


def _refuse_layers(names: list[str]) -> None:
    if _LAYERS.intersection(names) and not _ROOT.intersection(names):
        raise BrokenArchive(
            "it holds an image's layers (docker save or OCI layout), not a root file system",
            "give the archive of a whole root, as `docker export` makes it",
        )


def _end_with_parent() -> None:
    """End this process at once when nobody reads the records: an orphan would fill a folder for nobody."""
    waiter = select.poll()
    waiter.register(RECORDS, 0)
    waiter.poll()
    os._exit(1)
