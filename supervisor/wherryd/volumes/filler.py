"""The process that fills a new volume: copies one directory of an image, and ends.

It shuts itself in first: its root holds the image, read-only, and the folder to fill, and nothing else, so
that whatever links the image has lead nowhere. Must never import trio.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from wherryd.answering import answer, end_with_asker
from wherryd.images.confine import CAPABILITIES, drop
from wherryd.kernel.capabilities import last_cap
from wherryd.kernel.errors import KernelError
from wherryd.kernel.mounts import attach, clone_tree, make_private, mount_on, set_options, swap_root
from wherryd.kernel.paths import open_in_root
from wherryd.kernel.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, unshare
from wherryd.volumes.tree_copy import TreeCopy

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_DESCRIPTORS = 64
_INERT = ("nosuid", "nodev", "noexec")
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def main(_argument: str) -> None:
    """Answer the question on standard input."""
    answer("wherryd: fill", _work)


def _work(question: dict[str, Any]) -> dict[str, Any]:
    _confine(question)
    end_with_asker()
    try:
        source = open_in_root(_open("/image"), question["target"], os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno in _NOTHING_THERE:
            return {"filled": False}
        raise
    TreeCopy(source, os.open("/folder", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)).run()
    return {"filled": True}


def _confine(question: dict[str, Any]) -> None:
    highest = last_cap()
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    make_private("/")
    mountpoint = question["mountpoint"]
    mount_on(_open(mountpoint), "tmpfs", "tmpfs", (*_INERT, "mode=700", "size=64k"))
    root = _open(mountpoint)
    for name in ("image", "folder"):
        os.mkdir(name, 0o700, dir_fd=root)
    _mount_image(root, question["layers"])
    for source, target in question["binds"]:
        _bind(root, source, target)
    tree = clone_tree(question["folder"], recursive=False)
    set_options(tree, _INERT)
    attach(tree, _open("folder", root))
    swap_root(root)
    drop(CAPABILITIES, highest, _DESCRIPTORS)


def _mount_image(root: int, layers: Sequence[str]) -> None:
    if len(layers) == 1:
        tree = clone_tree(layers[0], recursive=False)
        set_options(tree, ("ro", *_INERT))
        attach(tree, _open("image", root))
        return
    opened = [_open(layer) for layer in layers]
    # By number: free of the option syntax's commas and colons, and 500 layers fit into the page it may have.
    os.chdir("/proc/self/fd")
    lower = ":".join(map(str, opened))
    mount_on(_open("image", root), "overlay", "overlay", ("ro", *_INERT, f"lowerdir={lower}"))
    os.chdir("/")
    for layer in opened:
        os.close(layer)  # or no descriptor below the limit would be left


def _bind(root: int, source: str, target: str) -> None:
    tree = clone_tree(source)
    set_options(tree, ("ro", *_INERT))
    attach(tree, open_in_root(_open("image", root), target))


def _open(path: str, dirfd: int | None = None) -> int:
    return os.open(path, _DIRECTORY, dir_fd=dirfd)
