"""The worker process: reads one archive and fills one folder, or one folder for each of several layers.

The argument is a Task, as JSON. Descriptor 0 is the archive of an "open", opened by the supervisor; 1 is the
pipe for records (records.py). `Read` goes out at most ten times a second; `Done`, `Contents` or `Failed` is
the last of a job.

    open      unpack a root's archive into `folder`; of an image's archive say what is in it (if it is
              compressed, or a pipe, its files are unpacked into `folder` first)
    layout    say what is in an image's `folder`
    layers    unpack layers, each in a process of its own that sees its own folder only

Must never import trio or anything that talks to a supervisor: what it reads is hostile.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import stat
import time
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from wherryd.images import decompress
from wherryd.images.blobs import FolderBlobs, TarBlobs
from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.confine import confine, confine_below, enter
from wherryd.images.extract import Extractor
from wherryd.images.feed import Feed
from wherryd.images.manifests import images_of
from wherryd.images.records import Contents, Done, Failed, Opaque, Read, Record, encode
from wherryd.images.split import Splitter
from wherryd.images.tar import TarReader
from wherryd.images.whiteouts import LayerExtractor
from wherryd.kernel.capabilities import last_cap
from wherryd.kernel.errors import KernelError
from wherryd.kernel.process import set_title

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.images.blobs import Blobs

ARCHIVE, RECORDS = 0, 1
AT_ONCE = 2
"""Layers being unpacked: each keeps a processor busy with reading and another with writing."""

_HEAD = 16
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
_MAX_FD = 4096
_MARKS = frozenset(("oci-layout", "manifest.json"))
_ROOT = frozenset(("bin", "usr", "etc", "lib", "dev"))
_SPLIT, _REPLACED = "split.zst", "replaced"  # as of layers.py, which this process does not import


class Job(NamedTuple):
    """A layer: its archive is `size` bytes at `offset` of descriptor `fd`, or all of it (-1: a pipe)."""

    fd: int
    offset: int
    size: int
    folder: str


class Task(NamedTuple):
    """What to do. `plain`: an "open" may be a root's archive. `jobs` are those of "layers"."""

    mode: str
    folder: str = ""
    plain: bool = True
    jobs: tuple[Job, ...] = ()


class Reporter:
    """Writes a job's records to the parent; a parent that is gone ends this process (SIGPIPE)."""

    def __init__(self, fd: int, job: int = 0) -> None:
        self._fd = fd
        self._job = job
        self._next = 0.0

    def read(self, total: int) -> None:
        """Tell how many bytes of the archive have been read, now and then."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self.send(Read(total))

    def send(self, record: Record) -> None:
        """Write one record."""
        data = encode(record, self._job)
        while data:
            data = data[os.write(self._fd, data) :]

    def guard(self, work: Callable[[Reporter], Record]) -> None:
        """Do the work; its outcome, whatever it is, is the last record."""
        try:
            self.send(work(self))
        except BaseException as error:  # noqa: BLE001 - the parent is told of everything
            self.send(failure(error))


def main(argument: str) -> None:
    """Do a task."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    task = Task(*json.loads(argument))
    reporter = Reporter(RECORDS)
    set_title("wherryd: unpack")
    if task.mode == "open":
        reporter.guard(partial(_open, task))
    elif task.mode == "layout":
        reporter.guard(partial(_layout, task.folder))
    else:
        _layers([Job(*job) for job in task.jobs])


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


def _open(task: Task, reporter: Reporter) -> Record:
    seekable = stat.S_ISREG(os.fstat(ARCHIVE).st_mode)
    head = os.pread(ARCHIVE, _HEAD, 0) if seekable else _first_of_pipe(ARCHIVE)
    compression = decompress.detect(head)
    decompress.prepare(compression)
    splitter = _splitter(task.folder)
    machine = os.uname().machine
    _shut_in(task.folder)
    blobs: Blobs | None = TarBlobs.find(ARCHIVE) if seekable and compression is None else None
    if blobs is not None:
        return _told(blobs, machine, reporter, unpacked=False)
    if not task.plain and seekable and compression is None:
        raise _no_image()
    read = b"" if seekable else head
    feed = Feed(ARCHIVE, compression, reporter.read, head=read, keep=splitter.raw)
    done = _unpack(feed, Extractor(feed, splitter), splitter)
    if _holds_image(os.listdir(".")):
        return _told(FolderBlobs(), machine, reporter, unpacked=True)
    if not task.plain:
        raise _no_image()
    return done


def _no_image() -> BrokenArchive:
    return BrokenArchive(
        "it holds no image (neither an OCI layout nor what `docker save` writes)",
        "the archive of a root file system is run as it is, or imported",
    )


def _layout(folder: str, reporter: Reporter) -> Record:
    machine = os.uname().machine
    _shut_in(folder)
    return _told(FolderBlobs(), machine, reporter, unpacked=False)


def _told(blobs: Blobs, machine: str, reporter: Reporter, *, unpacked: bool) -> Contents:
    images = images_of(blobs, machine)
    for image in images:
        reporter.send(image)
    return Contents(len(images), unpacked)


def _holds_image(names: list[str]) -> bool:
    return not _MARKS.isdisjoint(names) and _ROOT.isdisjoint(names)


def _layers(jobs: list[Job]) -> None:
    """Have each layer unpacked in a child; a child that ends without a word is spoken for."""
    decompress.prepare("zstd")
    highest = last_cap()
    room = os.path.dirname(os.path.dirname(jobs[0].folder))
    try:
        enter(room)
    except OSError as error:
        Reporter(RECORDS).send(failure(error))
        return
    waiting = [
        (index, job._replace(folder=os.path.relpath(job.folder, room))) for index, job in enumerate(jobs)
    ]
    running: dict[int, int] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            index, job = waiting.pop(0)
            pid = os.fork()
            if not pid:
                Reporter(RECORDS, index).guard(partial(_layer, job, highest))
                os._exit(0)
            running[pid] = index
        pid, status = os.waitpid(-1, 0)
        index = running.pop(pid)
        if status:
            word = f"the unpacking process ended without a word ({os.waitstatus_to_exitcode(status)})"
            Reporter(RECORDS, index).send(Failed("internal", word))


def _layer(job: Job, highest: int, reporter: Reporter) -> Done:
    # the other jobs' archives are none of this one's business, and confine_below() leaves little room
    os.closerange(RECORDS + 2, job.fd)
    os.closerange(job.fd + 1, _MAX_FD)
    splitter = _splitter(job.folder)
    confine_below(job.folder, highest)
    Thread(target=end_with_parent, daemon=True).start()
    place = None if job.size < 0 else (job.offset, job.size)
    head = os.pread(job.fd, min(_HEAD, job.size), job.offset) if place else _first_of_pipe(job.fd)
    feed = Feed(
        job.fd,
        decompress.detect(head),
        reporter.read,
        place=place,
        head=b"" if place else head,
        keep=splitter.raw,
    )
    extractor = LayerExtractor(feed, splitter)
    done = _unpack(feed, extractor, splitter, layer=True)
    for path in extractor.opaque:
        reporter.send(Opaque(path))
    return done


def _first_of_pipe(fd: int) -> bytes:
    """Return the first bytes that come, enough to know a compression by; fewer only at the end."""
    head = b""
    while len(head) < _HEAD and (more := os.read(fd, _HEAD - len(head))):
        head += more
    return head


def _splitter(folder: str) -> Splitter:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    aside = os.path.dirname(folder)
    split, replaced = (os.open(os.path.join(aside, name), flags, 0o600) for name in (_SPLIT, _REPLACED))
    return Splitter(split, replaced)


def _shut_in(folder: str) -> None:
    confine(folder)
    Thread(target=end_with_parent, daemon=True).start()


def _unpack(feed: Feed, extractor: Extractor, splitter: Splitter, *, layer: bool = False) -> Done:
    feed.start()
    try:
        for entry in TarReader(feed, layer=layer):
            extractor.add(entry)
        feed.drain()
        extractor.finish()
        repeatable = splitter.finish()
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(extractor.current) or "/") from error
    return Done(extractor.count, extractor.disk, feed.digest, feed.diff_id, feed.tar_size, repeatable)


def end_with_parent() -> None:
    """End this process at once when nobody reads the records: an orphan would fill a folder for nobody."""
    waiter = select.poll()
    waiter.register(RECORDS, 0)
    waiter.poll()
    os._exit(1)
