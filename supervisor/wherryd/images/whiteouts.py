"""A layer's entries as files, and what it takes away from the layers below in overlayfs' own form.

OCI's marks become (image-spec layer.md, kernel overlayfs.rst):
    .wh.NAME           a character device 0:0 called NAME
    .wh..wh..opq       trusted.overlay.opaque on the folder: `opaque` names them, for somebody who may set it
                       (it takes CAP_SYS_ADMIN, which has no place here)
Other names that begin with .wh..wh. were aufs' own, and are left out, as are device nodes.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from wherryd.images.broken import BrokenArchive, shown
from wherryd.images.entries import DEVICE, Entry
from wherryd.images.extract import Extractor

if TYPE_CHECKING:
    from wherryd.images.feed import Feed
    from wherryd.images.split import Splitter

MAX_OPAQUE = 100_000

_MARK, _META, _OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"


class LayerExtractor(Extractor):
    """An Extractor for a layer. `opaque` is known after `finish()`; b"" in it is the root."""

    def __init__(self, feed: Feed, splitter: Splitter) -> None:
        super().__init__(feed, splitter)
        self._hidden: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self.opaque: tuple[bytes, ...] = ()

    def add(self, entry: Entry) -> None:
        """Make one entry, or remember the mark that it is."""
        if entry.kind == DEVICE or (_MARK in entry.path and self._is_mark(entry.path)):
            self.current = entry.path
            self._feed.skip(entry.stored)
        else:
            super().add(entry)

    def finish(self) -> None:
        """Make the whiteouts, then give folders what they shall have."""
        for path in sorted(self._opaque):
            self.current = path
            self._make_parents(path + b"/.")
        for path in sorted(self._hidden):
            self.current = path
            self._hide(path)
        self.opaque = tuple(sorted(self._opaque))
        if len(self.opaque) > MAX_OPAQUE:
            raise BrokenArchive(f"more than {MAX_OPAQUE:,} opaque folders")
        super().finish()

    def _is_mark(self, path: bytes) -> bool:
        """Say whether it is a mark of any kind, and remember what it says."""
        folder, _, name = path.rpartition(b"/")
        above = [part for part in folder.split(b"/") if part.startswith(_MARK)]
        if any(part.startswith(_META) for part in above):
            return True
        if above:
            raise BrokenArchive(f"{shown(path)}: a name below a whiteout")
        if name == _OPAQUE:
            self._opaque.add(folder)
        elif name.startswith(_MARK) and not name.startswith(_META):
            self._hidden.add(_target(folder, name, path))
        return name.startswith(_MARK)

    def _hide(self, path: bytes) -> None:
        folder = path.rpartition(b"/")[0]
        if path in self._folders:
            # the layer has removed a folder and made another: nothing of the old one shows through
            self._opaque.add(path)
        elif folder not in self._opaque and not os.path.lexists(path):
            # below an opaque folder there is nothing to hide, and the device would show in listings
            if folder not in self._folders:
                self._make_parents(path)
            os.mknod(path, stat.S_IFCHR, 0)


def _target(folder: bytes, name: bytes, path: bytes) -> bytes:
    target = name[len(_MARK) :]
    if target in (b"", b".", b".."):
        raise BrokenArchive(f"{shown(path)}: a whiteout of nothing")
    return folder + b"/" + target if folder else target
