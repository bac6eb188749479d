"""What a caller wants to see in a container: opened once, judged by what it is, and that very thing mounted.

A path may lead elsewhere the next moment: between a look and a mount, whoever owns a part of it can put a
link in its place. Runs in a worker, in the host's mount namespace.
"""

from __future__ import annotations

import errno
import os
import stat

from wherryd.kernel.errors import KernelError
from wherryd.kernel.mounts import clone_tree, mountinfo, open_mount, set_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.launcher.plan import Mount, Plan

_PLAIN, _SLAVE = "bind", "rslave"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PEERS = ("shared:", "master:")


def clone_asked(plan: Plan) -> list[int | None]:
    """Return detached copies of what the asked mounts bind, None for the others. Raises KernelError."""
    return [_clone_asked(mount, plan.own_paths) for mount in plan.asked_mounts]


def _clone_asked(mount: Mount, own_paths: tuple[str, ...]) -> int | None:
    if mount.type != "bind":
        return None
    if mount.foreign:
        return clone(mount, own_paths)
    tree = clone_tree(mount.source)
    set_options(tree, mount.options, "private")
    return tree


def clone(mount: Mount, own_paths: tuple[str, ...]) -> int:
    """Return a detached copy of what one mount wants to show. Raises KernelError."""
    found = open_mount(mount.source)
    try:
        _refuse_own(found, mount.source, own_paths)
        slave = _SLAVE in mount.options
        if slave:
            _require_peers(found, mount.source)
        tree = clone_tree("", dirfd=found, recursive=_PLAIN not in mount.options)
        flags = tuple(option for option in mount.options if option not in (_PLAIN, _SLAVE))
        # Private, or what is mounted on it in the container would show on the host.
        set_options(tree, flags, "slave" if slave else "private")
        return tree
    finally:
        os.close(found)


def _refuse_own(found: int, source: str, own_paths: tuple[str, ...]) -> None:
    """Refuse what is, or lies in, a directory of the supervisor's, also where that is mounted elsewhere."""
    real = os.readlink(f"/proc/self/fd/{found}")
    if any(f"{real}/".startswith(f"{own}/") for own in own_paths):
        raise _own(source)
    identities = {_identity(os.stat(path)) for path in own_paths}
    directory = stat.S_ISDIR(os.fstat(found).st_mode)
    place = os.open(
        "." if directory else os.path.dirname(real), _DIRECTORY, dir_fd=found if directory else None
    )
    try:
        if identities.intersection(_ancestry(place)):
            raise _own(source)
    finally:
        os.close(place)


def _ancestry(directory: int) -> Iterator[tuple[int, int]]:
    """Yield who a directory is, who it is in, and so on up to the root."""
    here, last = os.dup(directory), None
    try:
        while (identity := _identity(os.fstat(here))) != last:
            yield identity
            above = os.open("..", _DIRECTORY, dir_fd=here)
            os.close(here)
            here, last = above, identity
    finally:
        os.close(here)


def _own(source: str) -> KernelError:
    hint = "it is wherry's own, and a container must not reach its supervisor's files"
    return KernelError("open_tree", source, errno.EACCES, hint)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _require_peers(found: int, source: str) -> None:
    """The kernel would make a slave of nothing without a word."""
    with open(f"/proc/self/fdinfo/{found}", encoding="ascii") as lines:
        number = next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    mount = next((each for each in mountinfo() if each.id == number), None)
    if mount is None or not any(field.startswith(_PEERS) for field in mount.propagation):
        hint = "it is not on a shared mount, so no mount can arrive: mount --make-shared it first"
        raise KernelError("mount_setattr", source, errno.EINVAL, hint)
