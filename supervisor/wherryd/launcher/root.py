"""A container's root file system, from the plan's values.

Runs in a worker. What every container of an image begins with is made in a mount namespace that is a copy of
the host's; what one asked for is mounted on it once it is the root. Every path inside the root is resolved by
the kernel within the root; nothing in the image is trusted.
"""

from __future__ import annotations

import errno
import os
import stat

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mount_syscalls import MOUNT_ATTR_RDONLY, mount_setattr
from wherryd.kernel.mounts import (
    attach,
    clone_tree,
    make_private,
    mount_on,
    new_mount,
    set_options,
    swap_root,
)
from wherryd.kernel.paths import make_in_root, open_in_root
from wherryd.kernel.syscalls import AT_FDCWD
from wherryd.launcher import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.launcher.kit import Kit, OwnNetwork
    from wherryd.launcher.plan import Mount, Plan, Root

DESCRIPTORS_FD = 6
"""Where a worker keeps its own /proc/self/fd: in a container's root there is no way to the host's /proc."""

_FEW = 64
"""Layers whose paths are sure to fit into mount(2)'s page."""

_KERNEL_TREES = ("/proc/", "/sys/")
_SANDBOX = (*_KERNEL_TREES, "/dev/")
_SYS = "/sys/"


def build(plan: Plan, directory: str, kit: Kit) -> None:
    """Make the root of a container whose own directory is `directory`, and make it this namespace's.

    Nothing of the old one is reachable by path after this. Raises KernelError.
    """
    make_private("/")
    root = _make_overlay(plan.root, directory)
    for mount in plan.mounts:
        if waits_for_network(mount.destination):
            continue
        if mount.type == "bind":
            _bind(root, mount, _clone(mount, directory))
        else:
            _mount(root, mount, kit.take(mount.destination))
    _hide(plan, root, kit, [path for path in _hidden(plan) if not waits_for_network(path)])
    swap_root(root)


def waits_for_network(path: str) -> bool:
    """Say whether it can only be mounted once the network namespace is there: a sysfs shows its maker's."""
    return f"{path}/".startswith(_SYS)


def mount_network_trees(plan: Plan, kit: Kit, network: OwnNetwork | None) -> None:
    """Mount what had to wait for the network namespace. In the root, and in that namespace."""
    root = _open("/")
    for mount in plan.mounts:
        if waits_for_network(mount.destination):
            _mount(root, mount, None if network is None else network.take(mount))
    _hide(plan, root, kit, [path for path in _hidden(plan) if waits_for_network(path)])


def _make_overlay(root: Root, directory: str) -> int:
    """Mount the root where nobody else sees it; return a descriptor of it."""
    upper, work = _open(f"{directory}/upper"), _open(f"{directory}/work")
    data = f"lowerdir={':'.join(_lower(root.layers))}"
    data += f",upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work}"
    target = _open(root.mountpoint)
    # nodev: a directory image may hold anybody's device nodes; the container's own are on its /dev.
    options = ("nodev", data, "volatile") if root.volatile else ("nodev", data)
    try:
        mount_on(target, "overlay", "overlay", options)
    except KernelError as error:
        # A root that was made ahead, and never became anybody's, was volatile (overlayfs.rst).
        if error.errno != errno.EINVAL or not _forget_volatile(work):
            raise
        mount_on(target, "overlay", "overlay", options)
    return _open(root.mountpoint)


def _forget_volatile(work: int) -> bool:
    """Remove the mark of a volatile mount; False when there is none."""
    mark = "work/incompat/volatile"
    try:
        os.unlink(f"{mark}/dirty", dir_fd=work)
        os.rmdir(mark, dir_fd=work)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise from_oserror(error, "rmdir", mark) from error
    return True


def _lower(layers: tuple[str, ...]) -> list[str]:
    if len(layers) <= _FEW:
        return [_by_descriptor(layer) for layer in layers]
    # mount(2) takes a page of options: seen from there the numbers alone are paths
    os.chdir("/proc/self/fd")
    return [str(_open(layer)) for layer in layers]


def _by_descriptor(path: str) -> str:
    # Short, free of the option syntax's commas and colons, and tells the container nothing about the host.
    return f"/proc/self/fd/{_open(path)}"


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open", path) from error


def mount_asked(plan: Plan, trees: list[int | None]) -> None:
    """Mount what the container has on top of its image's; `trees` are the sources: see source.py."""
    if not plan.asked_mounts:
        return
    root = _open("/")
    for mount, tree in zip(plan.asked_mounts, trees, strict=True):
        if tree is None:
            _mount(root, mount, None)
        else:
            _bind(root, mount, tree)


def _mount(root: int, mount: Mount, ready: int | None) -> None:
    target = _target(root, mount.destination, directory=True)
    if ready is not None:
        attach(ready, target)
    elif mount.type not in child.DEFERRED:
        attach(new_mount(mount.type, mount.source, mount.options), target)


def _clone(mount: Mount, directory: str) -> int:
    tree = clone_tree(os.path.join(directory, mount.source))
    set_options(tree, mount.options)
    return tree


def _bind(root: int, mount: Mount, tree: int) -> None:
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    target = _target(root, mount.destination, directory=directory)
    if stat.S_ISDIR(os.fstat(target).st_mode) is not directory:
        # The kernel itself says EINVAL, which has many meanings.
        raise KernelError("move_mount", mount.destination, errno.ENOTDIR)
    attach(tree, target)


def _target(root: int, destination: str, *, directory: bool) -> int:
    """Return a descriptor of where to mount. A link of the image's into the sandbox's trees is refused."""
    target = make_in_root(root, destination, directory=directory)
    if not f"{destination}/".startswith(_SANDBOX):
        leads_to = "/" + _path_of(target).removeprefix(_path_of(root)).lstrip("/")
        if f"{leads_to}/".startswith(_SANDBOX):
            # Device nodes would be made on it, and what masks /proc would be taken from it (CVE-2025-31133).
            hint = f"a symbolic link in the image leads to {leads_to}, which belongs to the sandbox"
            raise KernelError("mount", destination, errno.ELOOP, hint)
    return target


def _path_of(descriptor: int) -> str:
    return os.readlink(str(descriptor), dir_fd=DESCRIPTORS_FD)


def _hidden(plan: Plan) -> list[str]:
    """Return the paths to be covered here; the child covers what lies on a mount that only it can make."""
    return [path for path in (*plan.masked_paths, *plan.readonly_paths) if not child.deferred(path)]


def _hide(plan: Plan, root: int, kit: Kit, paths: list[str]) -> None:
    """Cover masked paths, files with /dev/null and directories with nothing; make the others read-only."""
    null = open_in_root(root, "/dev/null") if paths else -1
    for path in paths:
        target = _existing(root, path)
        if target is None:
            continue
        if path in plan.readonly_paths:
            _make_read_only(target)
        elif stat.S_ISDIR(os.fstat(target).st_mode):
            _empty(root, kit, path, target)
        else:
            attach(clone_tree("", dirfd=null, recursive=False), target)


def _empty(root: int, kit: Kit, path: str, target: int) -> None:
    """Cover a directory with the kit's empty one, or with a copy of that where it is by now."""
    if kit.masked.empty is None:
        attach(kit.empty, target)
        kit.masked.empty = path
    else:
        shown = open_in_root(root, kit.masked.empty)
        attach(clone_tree("", dirfd=shown, recursive=False), target)


def _make_read_only(target: int) -> None:
    tree = clone_tree("", dirfd=target)
    set_options(tree, ("ro",))
    attach(tree, target)


def _existing(root: int, path: str) -> int | None:
    try:
        return open_in_root(root, path)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def make_cwd(plan: Plan) -> None:
    """Make the working directory if it is missing, as docker; then lock the root if asked. In the root."""
    try:
        if not plan.cwd.startswith(_KERNEL_TREES):
            os.makedirs(plan.cwd, 0o755, exist_ok=True)
    except OSError as error:
        raise from_oserror(error, "mkdir", plan.cwd) from error
    if plan.root.read_only:
        mount_setattr(AT_FDCWD, "/", 0, MOUNT_ATTR_RDONLY)
