"""Where control groups are mounted, what is controlled where, and where in each hierarchy a process is.

Knows mountinfo and /proc/PID/cgroup only. Must never choose where groups go.
"""

from __future__ import annotations

import os

from wherryd.kernel.errors import from_oserror
from wherryd.kernel.mounts import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.kernel.mounts import Mount


class Hierarchy:
    """A mounted hierarchy. `own` is the path, below the mount point, of the process's group: "" or "/a/b"."""

    def __init__(self, mount: Mount, own: str) -> None:
        self.mountpoint = mount.mountpoint
        self.read_only = "ro" in (*mount.options, *mount.super_options)
        self.own = _below(own, mount.root)


class Hierarchies:
    """`unified`: the v2 hierarchy (None: nowhere) and its controllers; `legacy`: each v1 controller's."""

    def __init__(
        self, unified: Hierarchy | None, v2_controllers: tuple[str, ...], legacy: dict[str, Hierarchy]
    ) -> None:
        self.unified = unified
        self.v2_controllers = v2_controllers
        self.legacy = legacy

    @property
    def v2(self) -> str | None:
        """Where v2 is mounted."""
        return self.unified.mountpoint if self.unified else None

    @property
    def v1(self) -> dict[str, str]:
        """Where each v1 controller is mounted."""
        return {name: hierarchy.mountpoint for name, hierarchy in self.legacy.items()}

    @property
    def mode(self) -> str:
        """Return "v2", "hybrid" or "v1"."""
        if self.unified is None:
            return "v1"
        return "hybrid" if self.legacy else "v2"


def find_hierarchies(
    mounts: str = "/proc/self/mountinfo", memberships: str = "/proc/self/cgroup"
) -> Hierarchies:
    """Return the hierarchies mounted in this mount namespace. Raises KernelError."""
    unified: Hierarchy | None = None
    legacy: dict[str, Hierarchy] = {}
    own = _memberships(memberships)
    for mount in mountinfo(mounts):
        if mount.fstype == "cgroup2" and unified is None:
            unified = Hierarchy(mount, own.get("", "/"))
        elif mount.fstype == "cgroup":
            # Several controllers may share one, as cpu,cpuacct do; what has a "=" is a name or an option.
            for name in _controllers(mount.super_options):
                legacy.setdefault(name, Hierarchy(mount, own.get(name, "/")))
    controllers = _v2_controllers(unified) if unified else ()
    return Hierarchies(unified, controllers, legacy)


_FLAGS = ("rw", "ro", "noprefix", "clone_children", "xattr", "none", "cpuset_v2_mode", "favordynmods")


def _controllers(options: tuple[str, ...]) -> list[str]:
    return [option for option in options if "=" not in option and option not in _FLAGS]


def _memberships(path: str) -> dict[str, str]:
    """Return our group by controller; that of v2 has the name ""."""
    found: dict[str, str] = {}
    for line in _read(path).splitlines():
        _number, controllers, group = line.split(":", 2)
        found.update((name, group) for name in controllers.split(","))
    return found


def _below(group: str, root: str) -> str:
    """Return a group's path below a mount point that shows `root`; "" for one that cannot be seen there."""
    if root == "/":
        return group.rstrip("/")
    return group[len(root) :] if f"{group}/".startswith(f"{root}/") else ""


def _v2_controllers(unified: Hierarchy) -> tuple[str, ...]:
    return tuple(_read(f"{unified.mountpoint}/cgroup.controllers").split())


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise from_oserror(error, "read", path) from error


def is_delegated(path: str) -> bool:
    """Say whether systemd has left a group to whoever runs in it (Delegate=yes). systemd.resource-control(5).

    It says so in an extended attribute of the directory.
    """
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue  # not there, or attributes are not supported: both mean that it does not say so
    return False
