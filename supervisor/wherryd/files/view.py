"""The worker's way into a container's files: mounts that nobody else sees, then a root that is those files.

Owns what the worker can reach. What an image or a container put into its root is data here: paths are
resolved by the kernel within the root, and after `enter` the host's files have no path any more.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from wherryd.kernel.errors import KernelError
from wherryd.kernel.mount_syscalls import MNT_DETACH, MOUNT_ATTR_RDONLY, mount_setattr, umount2
from wherryd.kernel.mounts import (
    Mount,
    attach,
    clone_tree,
    make_private,
    mount_on,
    mountinfo,
    set_options,
    swap_root,
)
from wherryd.kernel.paths import make_in_root, open_in_root
from wherryd.kernel.syscalls import (
    AT_EMPTY_PATH,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    setns,
    unshare,
)
from wherryd.launcher import plan, source

if TYPE_CHECKING:
    from wherryd.files.job import View

_INERT = ("nosuid", "nodev", "noexec")
_PSEUDO = frozenset(
    "proc sysfs cgroup cgroup2 devpts mqueue devtmpfs debugfs tracefs securityfs bpf pstore binfmt_misc "
    "configfs efivarfs fusectl hugetlbfs rpc_pipefs nsfs".split()
)
_DEVICES = "/dev"  # the sandbox's own tmpfs; what is mounted in it, as /dev/shm, counts by itself


class Ground(NamedTuple):
    """What a task stands on: the root, the devices of pseudo file systems, and what to compare the root with.

    `upper` is None when nothing was ever changed.
    """

    root: int
    pseudo: frozenset[int] = frozenset()
    upper: int | None = None
    lower: int | None = None


def enter(view: View) -> Ground:
    """Make the container's files the root of this process, for good. Raises KernelError, OSError."""
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    make_private("/")
    proc = _open("/proc")
    upper = _open(view.upper) if view.compare and view.upper is not None else None
    lower = _lower(view) if view.compare else None
    binds = [_Bind(view, *bind) for bind in view.binds]
    if view.pidfd is None:
        _swap(_mounted(view), binds, view)
    else:
        _join(view.pidfd, binds, view)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts = mountinfo(os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))
    os.close(proc)
    pseudo = frozenset(mount.device for mount in mounts if _is_pseudo(mount))
    return Ground(root, pseudo, upper, lower)


class _Bind:
    """A copy of a mount, on its way to a place in the root."""

    def __init__(self, view: View, path: str, target: str, options: tuple[str, ...], foreign: bool) -> None:
        if foreign:
            mount = plan.Mount(destination=target, type="bind", source=path, options=options)
            self.tree = source.clone(mount, view.own_paths)
        else:
            self.tree = clone_tree(path)
        ro = ("ro",) if "ro" in options else ()
        set_options(self.tree, _options(view, ro))
        self.target = target

    def put(self, root: int, view: View) -> None:
        """Attach it; a root that nobody may change, and that has no place for it, stays without."""
        directory = stat.S_ISDIR(os.fstat(self.tree).st_mode)
        if view.writable:
            target = make_in_root(root, self.target, directory=directory)
        else:
            try:
                target = open_in_root(root, self.target)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                return
        attach(self.tree, target)
        os.close(target)


def _options(view: View, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    ro = () if view.writable else ("ro",)
    return tuple({*_INERT, *ro, *options})


def _join(pidfd: int, binds: list[_Bind], view: View) -> None:
    """See what a running container sees: a copy of its mount namespace, where nothing we do shows there."""
    setns(pidfd, CLONE_NEWNS)
    unshare(CLONE_NEWNS)
    make_private("/")
    os.close(pidfd)
    if view.mounts:
        root = _open("/")
        set_options(root, _options(view))
        os.close(root)
        return
    tree = clone_tree("/", recursive=False)
    set_options(tree, _options(view))
    below = _open("/")
    attach(tree, below)
    os.close(below)
    _swap(tree, binds, view)


def _swap(root: int, binds: list[_Bind], view: View) -> None:
    for bind in binds:
        bind.put(root, view)
        os.close(bind.tree)
    if view.fixed_root:
        mount_setattr(root, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)
    swap_root(root)
    os.close(root)


def _mounted(view: View) -> int:
    """Mount the root of a container that does not run; return a descriptor of it."""
    layers = view.layers if view.upper is None or view.work is not None else (view.upper, *view.layers)
    changes: tuple[tuple[str, str], ...] = ()
    if view.work is not None and view.upper is not None:
        changes = (("upperdir", view.upper), ("workdir", view.work))
    elif len(layers) == 1:
        return _copied(layers[0], view)
    _mount_overlay(layers, changes, view.mountpoint, ("nodev", "nosuid", "noexec"))
    return _open(view.mountpoint)


def _copied(folder: str, view: View) -> int:
    """Put a copy of the mount that a folder is on over an empty one."""
    tree = clone_tree(folder, recursive=False)
    set_options(tree, _options(view))
    below = _open(view.mountpoint)
    attach(tree, below)
    os.close(below)
    return tree


def _lower(view: View) -> int:
    """Return a descriptor of what the layers alone make."""
    if len(view.layers) == 1:
        return _open(view.layers[0])
    _mount_overlay(view.layers, (), view.mountpoint, ("ro", *_INERT))
    lower = os.open(view.mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    umount2(view.mountpoint, MNT_DETACH)
    return lower


def _mount_overlay(
    layers: tuple[str, ...], changes: tuple[tuple[str, str], ...], mountpoint: str, options: tuple[str, ...]
) -> None:
    """Mount an overlay; `changes` are (option, directory) pairs."""
    target = _open(mountpoint)
    folders = [_open(path) for path in (*layers, *(path for _, path in changes))]
    # Numbers are free of the option syntax's commas and colons, and as paths from there short enough for
    # mount(2)'s page of options with every layer that overlayfs takes.
    os.chdir("/proc/self/fd")
    numbers = [str(fd) for fd in folders]
    lower = f"lowerdir={':'.join(numbers[: len(layers)])}"
    upper = [f"{name}={fd}" for (name, _), fd in zip(changes, numbers[len(layers) :], strict=True)]
    mount_on(target, "overlay", "overlay", (*options, ",".join([lower, *upper])))
    os.chdir("/")
    for fd in (*folders, target):
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_pseudo(mount: Mount) -> bool:
    return mount.fstype in _PSEUDO or mount.mountpoint == _DEVICES
