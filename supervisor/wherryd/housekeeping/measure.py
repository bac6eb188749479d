"""The process that counts what directories take on disk: blocks, a file with several names once.

Never follows a link, never leaves a directory's file system, and gives up at its deadline: what is not
counted then is unknown. Must never import trio.
"""

from __future__ import annotations

import os
import resource
import stat
import time
from typing import Any

from wherryd.answering import answer, end_with_asker

_BLOCK = 512
_LONG = 2000
"""Bytes of a path after which its directory is held open: longer ones than 4095 the kernel takes none of."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooLate(Exception):  # noqa: N818 - it names what happened
    """The deadline has passed."""


def main(_argument: str) -> None:
    """Answer the question on standard input: {"seconds": …, "places": {key: path}}."""
    answer("wherryd: measure", _work)


def _work(question: dict[str, Any]) -> dict[str, Any]:
    end_with_asker()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    deadline = time.monotonic() + question["seconds"]
    return {"sizes": {key: _size(path, deadline) for key, path in question["places"].items()}}


def _size(path: str, deadline: float) -> int | None:
    try:
        return Tree(path, deadline).size()
    except FileNotFoundError:
        return 0
    except TooLate:
        return None


class Held:
    """A directory that is open as long as something is to be looked for below it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Tree:
    """A directory tree being counted."""

    def __init__(self, path: str, deadline: float) -> None:
        self._deadline = deadline
        self._root = Held(os.open(path, _FOLDER))
        self._seen: set[tuple[int, int]] = set()
        self._device = os.fstat(self._root.fd).st_dev

    def size(self) -> int:
        """Return the bytes on disk."""
        total = os.fstat(self._root.fd).st_blocks * _BLOCK
        waiting = [(self._root, ".")]
        while waiting:
            total += self._look(*waiting.pop(), waiting)
        return total

    def _look(self, base: Held, path: str, waiting: list[tuple[Held, str]]) -> int:
        """Return the size of what is in a directory; those in it are added to `waiting`."""
        try:
            fd = os.open(path, _FOLDER, dir_fd=base.fd)
        except OSError:
            return 0  # it went, or became something else, while we looked
        here = Held(fd)
        if len(path) > _LONG:
            base, path = here, "."
        total = 0
        with os.scandir(here.fd) as entries:
            for entry in entries:
                if time.monotonic() > self._deadline:
                    raise TooLate
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_dev != self._device or self._again(found):
                    continue
                total += found.st_blocks * _BLOCK
                if stat.S_ISDIR(found.st_mode):
                    waiting.append((base, f"{path}/{entry.name}"))
        return total

    def _again(self, found: os.stat_result) -> bool:
        """Say whether it is a further name of a file that was counted."""
        if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):
            return False
        identity = (found.st_dev, found.st_ino)
        known = identity in self._seen
        self._seen.add(identity)
        return known
