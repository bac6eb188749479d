"""A container's root file system, from the plan's values.

Runs in a worker, in the container's mount namespace. Every path inside the root is resolved by the kernel
within the root; nothing in the image is trusted.
"""

from __future__ import annotations

import errno
import os
import stat

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mounts import attach, clone_tree, make_private, mount_on, set_options, swap_root
from wherryd.kernel.paths import make_in_root, open_in_root
from wherryd.kernel.syscalls import AT_FDCWD, MOUNT_ATTR_RDONLY, mount_setattr
from wherryd.launcher import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.launcher.kit import Kit
    from wherryd.launcher.plan import Mount, Plan

_FEW = 64
"""Layers whose paths are sure to fit into mount(2)'s page."""

_KERNEL_TREES = ("/proc/", "/sys/")
_SANDBOX = (*_KERNEL_TREES, "/dev/")


def make_root(plan: Plan) -> int:
    """Mount the root where nobody else sees it; return a descriptor of it."""
    make_private("/")
    root = plan.root
    data = f"lowerdir={':'.join(_lower(root.layers))}"
    data += f",upperdir={_by_descriptor(root.upper)},workdir={_by_descriptor(root.work)}"
    target = _open(root.mountpoint)
    # nodev: a directory image may hold anybody's device nodes; the container's own are on its /dev.
    options = ("nodev", data, "volatile") if root.volatile else ("nodev", data)
    mount_on(target, "overlay", "overlay", options)
    return _open(root.mountpoint)


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


def mount_all(plan: Plan, root: int, kit: Kit, foreign: dict[str, int]) -> None:
    """Make the plan's mounts in the root; some are ready in the kit. `foreign`: see source.py."""
    for mount in plan.mounts:
        if mount.type == "bind":
            _bind(root, mount, foreign[mount.destination] if mount.foreign else _clone(mount))
        else:
            _mount(root, mount, kit.take(mount.destination))


def _mount(root: int, mount: Mount, ready: int | None) -> None:
    target = _target(root, mount.destination, directory=True)
    if ready is not None:
        attach(ready, target)
    elif mount.type not in child.DEFERRED:
        mount_on(target, mount.type, mount.source, mount.options)


def _clone(mount: Mount) -> int:
    tree = clone_tree(mount.source)
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
        leads_to = _path_of(target).removeprefix(_path_of(root))
        if f"{leads_to}/".startswith(_SANDBOX):
            # Device nodes would be made on it, and what masks /proc would be taken from it (CVE-2025-31133).
            hint = f"a symbolic link in the image leads to {leads_to}, which belongs to the sandbox"
            raise KernelError("mount", destination, errno.ELOOP, hint)
    return target


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def hide(plan: Plan, root: int, empty: int) -> str | None:
    """Cover the masked paths, files with /dev/null and directories with nothing; make the others read-only.

    `empty` is a detached empty directory; returns where it is now, if that is anywhere. What lies on a mount
    that only the child can make is for it to cover.
    """
    null = open_in_root(root, "/dev/null")
    hidden: str | None = None
    for path in plan.masked_paths:
        target = None if child.deferred(path) else _existing(root, path)
        if target is None:
            continue
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            attach(clone_tree("", dirfd=null, recursive=False), target)
        elif hidden is None:
            attach(empty, target)
            hidden = path
        else:
            attach(clone_tree("", dirfd=open_in_root(root, hidden), recursive=False), target)
    for path in plan.readonly_paths:
        target = None if child.deferred(path) else _existing(root, path)
        if target is not None:
            _make_read_only(target)
    return hidden


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


def enter(root: int) -> None:
    """Make it this namespace's root. Nothing of the old one is reachable by path after this."""
    swap_root(root)


def make_cwd(plan: Plan) -> None:
    """Make the working directory if it is missing, as docker; then lock the root if asked. After `enter`."""
    try:
        if not plan.cwd.startswith(_KERNEL_TREES):
            os.makedirs(plan.cwd, 0o755, exist_ok=True)
    except OSError as error:
        raise from_oserror(error, "mkdir", plan.cwd) from error
    if plan.root.read_only:
        mount_setattr(AT_FDCWD, "/", 0, MOUNT_ATTR_RDONLY)
