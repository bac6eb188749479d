"""Mounts by descriptor: new file systems, binds, read-only copies, and the swap of the root.

Owns mount flags by their fstab(5) names. Must never resolve a target by path on its own.
"""

from __future__ import annotations

import os

from wherryd.kernel.errors import KernelError
from wherryd.kernel.mount_syscalls import (
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    fsconfig,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from wherryd.kernel.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE

_MS = {"ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}
_ATTR = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
}
_PROPAGATION = {"private": MS_PRIVATE, "slave": MS_SLAVE}


def mount_on(target: int, fstype: str, source: str, options: tuple[str, ...]) -> None:
    """Mount a new file system on the descriptor `target`. Options are flags or the file system's own data.

    Needs the host's /proc: a descriptor has no other path. Raises KernelError.
    """
    flags = sum(_MS.get(option, 0) for option in options)
    data = ",".join(option for option in options if option not in _MS)
    mount(source, f"/proc/self/fd/{target}", fstype, flags, data)


def open_mount(path: str) -> int:
    """Return an O_PATH descriptor of what is at `path`; links are followed, an automount is made.

    Raises KernelError.
    """
    return open_tree(AT_FDCWD, path, OPEN_TREE_CLOEXEC)


def new_mount(fstype: str, source: str, options: tuple[str, ...]) -> int:
    """Return a detached mount of a new file system; options as of `mount_on`. Raises KernelError."""
    context = fsopen(fstype)
    try:
        fsconfig(context, FSCONFIG_SET_STRING, "source", source)
        for option in options:
            if option not in _ATTR:
                key, equals, value = option.partition("=")
                kind = FSCONFIG_SET_STRING if equals else FSCONFIG_SET_FLAG
                fsconfig(context, kind, key, value if equals else None)
        return fsmount(context, sum(_ATTR.get(option, 0) for option in options))
    except KernelError as error:
        raise KernelError(f"mount {fstype}", error.path, error.errno or 0, error.hint) from error
    finally:
        os.close(context)


def clone_tree(source: str, *, dirfd: int = AT_FDCWD, recursive: bool = True) -> int:
    """Return a detached copy of the mounts at `source` ("" with a dirfd: at that descriptor)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    flags |= (AT_RECURSIVE if recursive else 0) | (0 if source else AT_EMPTY_PATH)
    return open_tree(dirfd, source, flags)


def set_options(tree: int, options: tuple[str, ...], propagation: str | None = None) -> None:
    """Set flags on a mount and, as one reads them, on every mount below it; `propagation` likewise.

    "private" ends the exchange of new mounts with where the tree was cloned from, "slave" makes it one-way.
    """
    unknown = [option for option in options if option not in _ATTR]
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of a bind mount: use one of {', '.join(_ATTR)}")
    attributes = sum(_ATTR[option] for option in options)
    if attributes or propagation:
        kind = _PROPAGATION[propagation] if propagation else 0
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes, kind)


def attach(tree: int, target: int) -> None:
    """Attach a detached mount on the descriptor `target`."""
    move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_cgroup2(path: str) -> None:
    """Mount the cgroup v2 hierarchy on the directory `path`."""
    mount("cgroup2", path, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "")


def make_private(path: str) -> None:
    """Stop every mount at and below `path` from passing mounts on, in both directions."""
    mount("", path, "", MS_REC | MS_PRIVATE, "")


def swap_root(root: int) -> None:
    """Make the mount at `root` the root of this mount namespace and let go of the old one."""
    os.fchdir(root)
    pivot_root(".", ".")
    # The old root is now stacked over the new one: "." is it (pivot_root(2), NOTES).
    umount2(".", MNT_DETACH)
    os.chdir("/")


class Mount:
    """A line of /proc/PID/mountinfo (proc(5)): where, what, and its super block's options.

    `device` is st_dev of the files on it (not of every one: overlayfs and btrfs have more).
    """

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        self.id = int(fields[0])
        self.parent_id = int(fields[1])
        major, minor = fields[2].split(":")
        self.device = os.makedev(int(major), int(minor))
        self.root = _unescape(fields[3])
        self.mountpoint = _unescape(fields[4])
        self.options = tuple(fields[5].split(","))
        self.propagation = tuple(fields[6:])
        self.fstype, self.source, super_options = right.split(" ", 2)
        self.super_options = tuple(super_options.split(","))


def mountinfo(path: str | int = "/proc/self/mountinfo") -> list[Mount]:
    """Return the mounts of a process's namespace, in the order they were made. Raises KernelError.

    A descriptor of the file is closed.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as lines:
            return [Mount(line.rstrip("\n")) for line in lines]
    except OSError as error:
        raise KernelError("read", str(path), error.errno or 0) from error


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
