"""What this machine lacks for running containers, as named problems. Must never change anything.

Calls are probed with arguments that a kernel which knows them refuses in a telling way.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wherryd.kernel.errors import KernelError
from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.kernel.mount_syscalls import mount_setattr, move_mount, open_tree
from wherryd.kernel.syscalls import close_range, openat2, pidfd_open

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS: tuple[tuple[str, str, Callable[[], object]], ...] = (
    ("openat2", "5.6", lambda: openat2(-1, "", 0, 0, 0)),
    ("pidfd_open", "5.3", lambda: pidfd_open(-1)),
    ("open_tree", "5.2", lambda: open_tree(-1, "", 0)),
    ("move_mount", "5.2", lambda: move_mount(-1, "", -1, "", 0)),
    ("mount_setattr", "5.12", lambda: mount_setattr(-1, "", 0, 0)),
    ("close_range", "5.9", lambda: close_range(1, 0, 0)),
)
_NAMESPACES = {"mnt": "mount", "pid": "pid", "uts": "uts", "ipc": "ipc", "net": "network", "cgroup": "cgroup"}


def problems() -> list[str]:
    """Return one line per missing thing; empty means that containers can run."""
    return [*_user(), *_calls(), *_namespaces(), *_overlay(), *_cgroups()]


def _user() -> list[str]:
    return [] if os.geteuid() == 0 else ["not root: wherryd sets up namespaces, mounts and cgroups"]


def _calls() -> list[str]:
    return [
        f"no {name}: Linux {since} or newer is needed" for name, since, probe in _CALLS if _missing(probe)
    ]


def _missing(probe: Callable[[], object]) -> bool:
    try:
        probe()
    except KernelError as error:
        return error.errno == errno.ENOSYS
    return False


def _namespaces() -> list[str]:
    return [
        f"no {name} namespaces: the kernel is built without them"
        for entry, name in _NAMESPACES.items()
        if not os.path.exists(f"/proc/self/ns/{entry}")
    ]


def _overlay() -> list[str]:
    if _knows("overlay"):
        return []
    release = os.uname().release
    if os.path.exists(f"/lib/modules/{release}/kernel/fs/overlayfs"):
        return []  # mount(2) loads the module
    return ["no overlay file system: modprobe overlay, or a kernel with CONFIG_OVERLAY_FS"]


def _cgroups() -> list[str]:
    v2 = find_hierarchies().v2
    if v2 is None:
        return [] if _knows("cgroup2") else ["no cgroup v2: the kernel is built without it"]
    if not os.access(v2, os.W_OK):
        return [f"cgroup v2 at {v2} is read-only"]
    return []


def _knows(fstype: str) -> bool:
    with open("/proc/filesystems", encoding="ascii") as file:
        return f"\t{fstype}\n" in file.read()
