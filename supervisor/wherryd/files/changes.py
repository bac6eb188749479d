"""What a container changed: its upper directory tells where to look, the root what became of it.

Owns the comparison and the layer that is made of it. Reads no control data of overlayfs: what the upper
directory hides from the layers is what the root no longer has.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from wherryd.files.refused import Refused
from wherryd.files.walk import MAX_DEPTH, attributes, opened, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.files.records import Kind
    from wherryd.files.tarsink import TarSink
    from wherryd.files.view import Ground
    from wherryd.files.walk import Walker

ADDED: Kind = "A"
CHANGED: Kind = "C"
DELETED: Kind = "D"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Change(NamedTuple):
    """A path, relative to the root, and what happened to it: A, C or D, as of docker diff."""

    kind: Kind
    path: bytes


class _Place(NamedTuple):
    """A folder in the upper directory, in the root and in the layers."""

    path: bytes
    upper: int
    root: int
    lower: int


def find(ground: Ground, ours: frozenset[str]) -> list[Change]:
    """Return every change in the order of a walk, parents first.

    `ours` are paths where wherry makes a folder or file to mount on; an empty one is no change.
    """
    if ground.upper is None or ground.lower is None:
        return []
    finder = _Finder(frozenset(path.lstrip("/").encode() for path in ours))
    return finder.inside(_Place(b"", ground.upper, ground.root, ground.lower))


def write_layer(ground: Ground, ours: frozenset[str], walker: Walker, sink: TarSink) -> None:
    """Feed what was changed to the sink of `walker`, and whiteouts for what was deleted."""
    for change in find(ground, ours):
        folder, _, name = change.path.rpartition(b"/")
        if change.kind == DELETED:
            sink.whiteout(change.path)
            continue
        parent = _open_path(ground.root, folder)
        if parent is None:
            continue
        try:
            _feed(walker, parent, os.fsdecode(name), change.path)
        finally:
            os.close(parent)


def _feed(walker: Walker, parent: int, name: str, path: bytes) -> None:
    found = _look(parent, name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        walker.one(parent, name, path, found)
        return
    fd = opened(parent, name, _FOLDER)
    if fd is not None:
        try:
            walker.folder_alone(fd, path)
        finally:
            os.close(fd)


def _open_path(root: int, path: bytes) -> int | None:
    """Return a descriptor of a folder, None if it has gone; no symlink is followed."""
    fd = os.dup(root)
    for part in path.split(b"/") if path else []:
        below = opened(fd, os.fsdecode(part), _FOLDER)
        os.close(fd)
        if below is None:
            return None
        fd = below
    return fd


class _Finder:
    def __init__(self, ours: frozenset[bytes]) -> None:
        self._ours = ours

    def inside(self, place: _Place) -> list[Change]:
        """Return the changes in a folder that the layers have too, without itself."""
        if place.path.count(b"/") >= MAX_DEPTH:
            raise Refused(f"{shown(place.path)}: more than {MAX_DEPTH} folders deep")
        names = set(os.listdir(place.upper))
        before = set(os.listdir(place.lower))
        found: list[Change] = []
        for name in sorted(names | before):
            path = place.path + b"/" + os.fsencode(name) if place.path else os.fsencode(name)
            if name in names:
                found += self._touched(place, name, path)
            elif _look(place.root, name) is None:
                found.append(Change(DELETED, path))  # hidden by an opaque folder
        return found

    def _touched(self, place: _Place, name: str, path: bytes) -> list[Change]:
        """Return the changes at and below a name that the upper directory has."""
        now, before = _look(place.root, name), _look(place.lower, name)
        if now is None:
            return [Change(DELETED, path)] if before is not None else []
        if before is None:
            return self._added(place, name, path, now)
        if stat.S_ISDIR(now.st_mode) and stat.S_ISDIR(before.st_mode):
            return self._folder(place, name, path)
        if stat.S_ISDIR(before.st_mode) or stat.S_ISDIR(now.st_mode):
            return [Change(CHANGED, path), *_below(place.root, name, path)]
        return [Change(CHANGED, path)]

    def _added(self, place: _Place, name: str, path: bytes, now: os.stat_result) -> list[Change]:
        below = list(_below(place.root, name, path))
        if path in self._ours and not below and (stat.S_ISDIR(now.st_mode) or not now.st_size):
            return []
        if below and all(self._is_made(change.path) for change in below):
            return []  # a folder that was made for what is mounted in it
        return [Change(ADDED, path), *below]

    def _is_made(self, path: bytes) -> bool:
        found = os.stat(b"/" + path, follow_symlinks=False) if path in self._ours else None
        return found is not None and (stat.S_ISDIR(found.st_mode) or not found.st_size)

    def _folder(self, place: _Place, name: str, path: bytes) -> list[Change]:
        """Return the changes of a folder that was there before; first of itself, if it has any."""
        fds = [opened(fd, name, _FOLDER) for fd in (place.upper, place.root, place.lower)]
        try:
            if any(fd is None for fd in fds):
                return []
            upper, root, lower = (fd for fd in fds if fd is not None)
            below = self.inside(_Place(path, upper, root, lower))
            return [Change(CHANGED, path), *below] if below or self._differs(path, root, lower) else []
        finally:
            for fd in fds:
                if fd is not None:
                    os.close(fd)

    def _differs(self, path: bytes, root: int, lower: int) -> bool:
        """Say whether a folder itself was changed; what we make in it to mount on is no change."""
        now, before = os.fstat(root), os.fstat(lower)
        if (now.st_mode, now.st_uid, now.st_gid) != (before.st_mode, before.st_uid, before.st_gid):
            return True
        if attributes(root) != attributes(lower):
            return True
        made_in = {each.rpartition(b"/")[0] for each in self._ours}
        return path not in made_in and now.st_mtime_ns != before.st_mtime_ns


def _below(parent: int, name: str, path: bytes) -> Iterator[Change]:
    """Yield all that is in an added folder; nothing if it is none."""
    if path.count(b"/") >= MAX_DEPTH:
        raise Refused(f"{shown(path)}: more than {MAX_DEPTH} folders deep")
    found = _look(parent, name)
    fd = opened(parent, name, _FOLDER) if found is not None and stat.S_ISDIR(found.st_mode) else None
    if fd is None:
        return
    try:
        for inner in sorted(os.listdir(fd)):
            full = path + b"/" + os.fsencode(inner)
            yield Change(ADDED, full)
            yield from _below(fd, inner, full)
    finally:
        os.close(fd)


def _look(parent: int, name: str) -> os.stat_result | None:
    """Return what there is, None if nothing: overlayfs' whiteouts are never seen through the root."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
