"""Entries as a tar archive: pax format, so that names, times, attributes and holes come back as they were.

Owns what an entry looks like in the archive. Never opens a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherryd.files import tarheader
from wherryd.files.tarheader import header, padding

if TYPE_CHECKING:
    from wherryd.files.output import Output
    from wherryd.files.walk import Extents, Meta

END = bytes(2 * tarheader.BLOCK)
WHITEOUT = b".wh."
"""Before a name that a layer takes away: OCI image-spec, layer.md."""

_READ = 256 << 10
_XATTR = "SCHILY.xattr."


class TarSink:
    """Writes entries to an output; `changed` are files that shrank while they were read."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.changed: list[bytes] = []

    def directory(self, path: bytes, meta: Meta) -> None:
        """Add a folder."""
        self._add(tarheader.DIRECTORY, path + b"/" if path else b"./", meta)

    def symlink(self, path: bytes, meta: Meta, target: bytes) -> None:
        """Add a symlink."""
        self._add(tarheader.SYMLINK, path, meta, link=target)

    def hardlink(self, path: bytes, meta: Meta, target: bytes) -> None:
        """Add another name of an entry that came before."""
        self._add(tarheader.HARDLINK, path, meta._replace(size=0), link=target)

    def fifo(self, path: bytes, meta: Meta) -> None:
        """Add a named pipe."""
        self._add(tarheader.FIFO, path, meta)

    def file(self, path: bytes, meta: Meta, fd: int, extents: Extents | None) -> None:
        """Add a file with what is in it."""
        if extents is not None:
            self._sparse(path, meta, fd, extents)
            return
        self._add(tarheader.FILE, path, meta, size=meta.size)
        self._data(path, fd, meta.size)
        self._output.put(padding(meta.size))

    def whiteout(self, path: bytes) -> None:
        """Add the mark that takes `path` of a lower layer away."""
        folder, slash, name = path.rpartition(b"/")
        mark = folder + slash + WHITEOUT + name
        self._output.put(header(tarheader.FILE, mark, mode=0o600, uid=0, gid=0, mtime_ns=0))

    def finish(self) -> None:
        """Write the end of the archive."""
        self._output.put(END)

    def _add(
        self,
        kind: bytes,
        path: bytes,
        meta: Meta,
        *,
        size: int = 0,
        link: bytes = b"",
        records: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        if meta.xattrs:
            records += tuple((_key(name), value) for name, value in meta.xattrs)
        self._output.put(
            header(
                kind, path, mode=meta.mode, uid=meta.uid, gid=meta.gid, mtime_ns=meta.mtime_ns, size=size,
                link=link, records=records,
            )
        )  # fmt: skip

    def _sparse(self, path: bytes, meta: Meta, fd: int, extents: Extents) -> None:
        """GNU tar's form 1.0: the map, as decimal lines in whole blocks, is the first of the data."""
        # An empty piece at the end tells a reader that goes by the map alone how long the file is.
        pieces = (*extents, (meta.size, 0))
        numbers = [len(pieces), *(number for piece in pieces for number in piece)]
        text = b"".join(b"%d\n" % number for number in numbers)
        table = text + padding(len(text))
        data = sum(length for _, length in extents)
        records = (
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", path),
            (b"GNU.sparse.realsize", b"%d" % meta.size),
        )
        folder, slash, name = path.rpartition(b"/")
        inner = folder + slash + b"GNUSparseFile.0/" + name
        self._add(tarheader.FILE, inner, meta, size=len(table) + data, records=records)
        self._output.put(table)
        for offset, length in extents:
            os.lseek(fd, offset, os.SEEK_SET)
            self._data(path, fd, length)
        self._output.put(padding(data))

    def _data(self, path: bytes, fd: int, size: int) -> None:
        left = size
        while left:
            data = os.read(fd, min(left, _READ))
            if not data:
                # it shrank; the header has promised so many bytes
                self.changed.append(path)
                self._zeros(left)
                return
            self._output.put(data)
            left -= len(data)

    def _zeros(self, size: int) -> None:
        for _ in range(size // _READ):
            self._output.put(bytes(_READ))
        self._output.put(bytes(size % _READ))


def _key(name: str) -> bytes:
    return os.fsencode(_XATTR + name.replace("%", "%25").replace("=", "%3D"))
