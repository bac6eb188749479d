"""The process that writes an image archive: blobs that it is given, and layers put together from the store.

The argument is the number of the descriptor to write to and the folder of layers, as JSON. Descriptor 0 is
the list of files (saving.py), 1 the pipe for records. Every layer is hashed while it is written, and must
have the digest that it is kept under. Sees nothing but the layers, and them read-only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import tarfile
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.confine import confine
from wherryd.images.header import BLOCK
from wherryd.images.records import Failed, Saved
from wherryd.images.split import Content, parts, prepare, replaced_files
from wherryd.images.worker import RECORDS, Reporter, end_with_parent, failure
from wherryd.kernel.process import set_title

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST = 0
_PIECE = 256 << 10
_END = 2 * BLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Layer(NamedTuple):
    """A layer's archive: its digest, its size, and its places below the folder of layers."""

    digest: str
    size: int
    root: str
    split: str
    replaced: str


class File(NamedTuple):
    """A file of the image archive: `text`, or if there is none the layer."""

    name: str
    text: str | None
    layer: Layer | None


class _Writer:
    """Gathers pieces into large writes; `hash` is updated with what `add` is given, if there is one."""

    def __init__(self, fd: int, reporter: Reporter) -> None:
        self._fd = fd
        self._reporter = reporter
        self._pieces: list[bytes] = []
        self._size = 0
        self.written = 0

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self.flush()

    def flush(self) -> None:
        view = memoryview(b"".join(self._pieces))
        self._pieces, self._size = [], 0
        while view:
            written = os.write(self._fd, view)
            self.written += written
            view = view[written:]
            self._reporter.read(self.written)


def main(argument: str) -> None:
    """Write the archive; the outcome is the last record."""
    # a reader of the archive that is gone is an error to be told of
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    set_title("wherryd: pack")
    target, folder = json.loads(argument)
    Reporter(RECORDS).guard(lambda reporter: _pack(target, folder, reporter))


def _pack(target: int, folder: str, reporter: Reporter) -> Saved | Failed:
    prepare()
    files = [_file(each) for each in json.loads(os.read(LIST, os.fstat(LIST).st_size))]
    confine(folder, read_only=True)
    Thread(target=end_with_parent, daemon=True).start()
    writer = _Writer(target, reporter)
    try:
        for file in files:
            _add(writer, file)
        writer.add(bytes(_END))
        writer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            return Failed("archive", "whoever was to read the archive is gone")
        return failure(error)
    return Saved(writer.written)


def _file(raw: list[Any]) -> File:
    name, text, layer = raw
    return File(name, text, None if layer is None else Layer(*layer))


def _add(writer: _Writer, file: File) -> None:
    data = None if file.text is None else file.text.encode()
    size = len(data) if data is not None else file.layer.size if file.layer else 0
    writer.add(_header(file.name, size))
    if data is not None:
        writer.add(data)
    elif file.layer is not None:
        _add_layer(writer, file.layer)
    writer.add(bytes(-size % BLOCK))


def _header(name: str, size: int) -> bytes:
    """Return the same block for the same file, whenever it is written."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    if name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.GNU_FORMAT)


def _add_layer(writer: _Writer, layer: Layer) -> None:
    sha256 = hashlib.sha256()
    size = 0
    root = os.open(layer.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    split = os.open(layer.split, os.O_RDONLY | os.O_CLOEXEC)
    try:
        replaced = _replaced(layer.replaced)
        for part in parts(split):
            for data in _content(root, part, replaced) if isinstance(part, Content) else (part,):
                sha256.update(data)
                size += len(data)
                writer.add(data)
    finally:
        os.close(root)
        os.close(split)
    if (sha256.hexdigest(), size) != (layer.digest, layer.size):
        raise BrokenArchive(f"layer {layer.digest[:12]} was changed in the store since it was unpacked")


def _replaced(path: str) -> dict[tuple[int, bytes], bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    try:
        return replaced_files(fd)
    finally:
        os.close(fd)


def _content(root: int, part: Content, replaced: dict[tuple[int, bytes], bytes]) -> Iterator[bytes]:
    kept = replaced.get((part.generation, part.path))
    if kept is not None:
        yield kept[part.offset : part.offset + part.length]
        return
    try:
        fd = os.open(part.path, _READ, dir_fd=root)
    except OSError as error:
        raise BrokenArchive(f"{shown(part.path)}: {error.strerror}") from error
    try:
        at, end = part.offset, part.offset + part.length
        while at < end and (data := os.pread(fd, min(_PIECE, end - at), at)):
            at += len(data)
            yield data
    finally:
        os.close(fd)
