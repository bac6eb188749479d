"""What a container's root is made on: an image's layers, as they are at this moment.

Two containers on an equal ground have equal roots to begin with. An unpacked layer never changes, but it can
be removed and unpacked again at the same path; a directory is somebody's, and what of it a root depends on is
looked at each time.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from wherry_protocol.errors import ImageError
from wherryd.containers.files import ETC_FILES, UPPER_MODE
from wherryd.images.names import HOST

if TYPE_CHECKING:
    from wherryd.containers.config import Config

_PLACES = ("", "/dev", "/proc", "/sys", "/etc", *(f"/etc/{name}" for name in ETC_FILES))
"""Where a sandbox is mounted, by the directories on the way: below them a root looks at nothing ahead."""

_TICK = 0.1
"""Seconds; a directory that changed so short a time ago can change again without its times telling."""


class Ground:
    """The layers, whether the root is volatile, and who / is. `settled`: all of that is known and stays."""

    def __init__(self, config: Config, root: os.stat_result) -> None:
        image = config.image
        self._root = root
        self.settled = True
        if image.digest is None and image.reference != HOST:
            stamps = [self._stamp(f"{layer}{place}") for layer in image.layers for place in _PLACES]
        else:
            stamps = [_identity(os.stat(layer)) for layer in image.layers]
        self._key = (image.layers, image.binds, config.spec.auto_remove, stamps)

    @classmethod
    def of(cls, config: Config) -> Ground:
        """Look at the image. Raises ImageError when it is gone."""
        layer = config.image.layers[0]
        try:
            return cls(config, os.stat(layer))
        except OSError as error:
            raise ImageError(f"image directory {layer}: {error.strerror}", path=layer) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ground) and self._key == other._key

    __hash__ = None  # type: ignore[assignment]  # compared only

    def prepare(self, directory: str) -> None:
        """Give / of the container its owner and mode: overlayfs takes them from the upper directory.

        A directory image may be anybody's private one: its root is opened to the container's users as an
        unpacked image's would be. Raises OSError.
        """
        upper = f"{directory}/upper"
        mode = self._root.st_mode & 0o7777 | 0o555
        if mode != UPPER_MODE:
            os.chmod(upper, mode)
        if self._root.st_uid or self._root.st_gid:
            os.chown(upper, self._root.st_uid, self._root.st_gid)

    def _stamp(self, path: str) -> tuple[int, ...]:
        try:
            found = os.lstat(path)
        except OSError:
            return ()
        if stat.S_ISLNK(found.st_mode) or found.st_ctime > time.time() - _TICK:
            self.settled = False  # a link leads to where nobody has looked
        return (*_identity(found), found.st_mode, found.st_mtime_ns)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """Say which directory it is: a number can be given again, but not at the same time."""
    return found.st_dev, found.st_ino, found.st_ctime_ns
