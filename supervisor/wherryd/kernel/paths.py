"""Paths inside a root that is not to be trusted: every step is resolved by the kernel within that root.

Owns opening and making such paths. Must never resolve one by string.
"""

from __future__ import annotations

import errno
import os
import stat

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_MAX_LINKS = 40  # as the kernel's own MAXSYMLINKS
_MAX_RETRIES = 1000  # openat2(2): a ".." is EAGAIN while anything on the machine is renamed or mounted
_STRICT = ("proc", "sys", "dev")  # the kernel's own trees: a link there is an attack, not a layout


def open_in_root(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Return a descriptor of `path` in the root; links stay within; in /proc, /sys, /dev none is followed.

    Raises KernelError.
    """
    top = path.lstrip("/").split("/", 1)[0]
    resolve = RESOLVE_IN_ROOT | (RESOLVE_NO_SYMLINKS if top in _STRICT else RESOLVE_NO_MAGICLINKS)
    for _ in range(_MAX_RETRIES):
        try:
            return openat2(root, path, flags, 0, resolve)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
    return openat2(root, path, flags, 0, resolve)


def leads_somewhere(root: int, path: str) -> bool:
    """Say whether the root has something at `path`, or a link on the way there. Raises KernelError."""
    try:
        os.close(openat2(root, path, os.O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        if error.errno not in (errno.ELOOP, errno.EAGAIN):
            raise
    return True


def make_in_root(root: int, path: str, *, directory: bool, links: int = 0) -> int:
    """Return an O_PATH descriptor of `path` in the root, made with its parents if it does not exist.

    A symbolic link that leads to nothing has its target made, still inside the root.
    Raises KernelError.
    """
    try:
        return open_in_root(root, path)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    if links > _MAX_LINKS:
        raise KernelError("openat2", path, errno.ELOOP)
    parent_path, name = os.path.split(path.rstrip("/"))
    parent = make_in_root(root, parent_path or "/", directory=True, links=links + 1)
    try:
        link = _create(parent, name, path, directory=directory)
    finally:
        os.close(parent)
    target = path if link is None else os.path.join(parent_path, link)
    return make_in_root(root, target, directory=directory, links=links + 1)


def _create(parent: int, name: str, path: str, *, directory: bool) -> str | None:
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        return _dangling_link(parent, name, path)
    except OSError as error:
        raise from_oserror(error, "mkdir" if directory else "open", path) from error
    return None


def _dangling_link(parent: int, name: str, path: str) -> str | None:
    """Return where the link leads; None if what was missing a moment ago has appeared."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=parent)
    except OSError as error:
        raise from_oserror(error, "readlink", path) from error
    return None
