"""Where a path of cp leads: resolved in the root by the kernel, and docker's rules for what a copy is called.

Owns the rules. A path is resolved once, to the descriptor of a folder and one name in it; after that nobody
can turn it elsewhere. Must never make anything.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from wherryd.files.refused import Refused
from wherryd.kernel.errors import KernelError
from wherryd.kernel.paths import open_in_root

if TYPE_CHECKING:
    from wherryd.files.view import Ground

DIRECTORY, FILE, MISSING = "directory", "file", "missing"

_MAX_LINKS = 40  # as the kernel's own MAXSYMLINKS
_PARENT = os.O_PATH | os.O_DIRECTORY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place(NamedTuple):
    """A name in the folder open at `parent`; "." is that folder. `found` is None if nothing is there."""

    parent: int
    name: str
    found: os.stat_result | None

    @property
    def is_directory(self) -> bool:
        """Whether a folder is there."""
        return self.found is not None and stat.S_ISDIR(self.found.st_mode)

    def open_directory(self) -> int:
        """Return a descriptor of the folder that is there."""
        return os.open(self.name, _FOLDER, dir_fd=self.parent)


class Target(NamedTuple):
    """Where a copy goes: a descriptor of a folder, and what is (or would be) there.

    `kind` "directory": the folder itself; else `name` in it, which is a "file" or "missing". `slash`: the
    path ends in one, and so can only be a folder. `told` is the path for error texts.
    """

    folder: int
    kind: str
    name: str
    slash: bool
    told: str


def source(ground: Ground, path: str, *, follow: bool) -> Place:
    """Return what `path` is; a symlink itself, unless `follow` or a slash at the end. Raises Refused."""
    place = _locate(ground, path, follow=follow or _ends_in_folder(path))
    if place.found is None:
        raise Refused(f"{path}: no such file or directory in the container", kind="not_found")
    if _ends_in_folder(path) and not place.is_directory:
        raise Refused(f"{path}: not a directory")
    _refuse_pseudo(ground, place.found, path)
    return place


def target(ground: Ground, path: str) -> Target:
    """Return where a copy to `path` goes; symlinks are followed, in the root. Raises Refused."""
    place = _locate(ground, path, follow=True)
    slash = _ends_in_folder(path)
    if place.is_directory:
        folder = place.open_directory()
        _refuse_pseudo(ground, os.fstat(folder), path)
        return Target(folder, DIRECTORY, "", slash, path)
    _refuse_pseudo(ground, place.found or os.fstat(place.parent), path)
    return Target(place.parent, MISSING if place.found is None else FILE, place.name, slash, path)


def name_in(goal: Target, name: str, *, folder: bool, contents: bool) -> str:
    """Return what a copy of `name` is called in the target's folder; "" is the folder itself.

    `folder`: it is one; `contents`: only what is in it is meant. Raises Refused.
    """
    if goal.kind == DIRECTORY:
        return "" if folder and contents else name
    if goal.kind == FILE:
        if folder:
            raise Refused(f"{goal.told}: a file is there: a directory cannot be copied onto it")
        if goal.slash:
            raise Refused(f"{goal.told}: not a directory")
    elif goal.slash and not folder:
        raise Refused(f"{goal.told}: no such directory", kind="not_found", hint="make it first")
    return goal.name


def _locate(ground: Ground, path: str, *, follow: bool) -> Place:
    if "\0" in path or not path:
        raise Refused("a path is empty or has a NUL byte in it")
    told = path
    for _ in range(_MAX_LINKS):
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            head, name = path, "."
        try:
            parent = open_in_root(ground.root, head or "/", _PARENT)
        except KernelError as error:
            raise _unreachable(error, told) from None
        found = _look(parent, name)
        if found is None or not follow or not stat.S_ISLNK(found.st_mode):
            return Place(parent, name, found)
        path = os.path.join(head or "/", os.readlink(name, dir_fd=parent))
        os.close(parent)
    raise Refused(f"{told}: too many levels of symbolic links")


def _unreachable(error: KernelError, told: str) -> Refused:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Refused(f"{told}: no such directory in the container", kind="not_found")
    return Refused(f"{told}: {error.strerror}")


def _look(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _ends_in_folder(path: str) -> bool:
    return path.endswith(("/", "/.", "/..")) or path in (".", "..")


def _refuse_pseudo(ground: Ground, found: os.stat_result, path: str) -> None:
    if found.st_dev in ground.pseudo:
        raise Refused(
            f"{path}: it is on a file system of the kernel's or the sandbox's, where nobody keeps files",
            hint="use exec to read or write there",
        )
