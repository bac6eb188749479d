"""Where this supervisor's groups are: below the v2 root, and below that of each controller that v2 lacks.

    <v2>/<instance>/<container id>                   a container's group
    <v1 memory>/<instance>/<container id>            the same where memory is a v1 hierarchy, and so on

The v2 root is the group that systemd delegated to us (Delegate=yes), if we run in one; else what is mounted.
So it is, too, while containers run there that began before we were a unit: who runs stays in its group.
In the latter case inside a container, or in a delegated one, processes may be in the root itself: a group
with processes cannot enable controllers for others, so they are moved to a leaf of their own.
Must never know of containers, nor write a limit.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.errors import KernelFailure
from wherryd import journal
from wherryd.cgroups.limits import ALWAYS
from wherryd.kernel import cgroups
from wherryd.kernel.errors import KernelError
from wherryd.kernel.hierarchies import find_hierarchies, is_delegated
from wherryd.kernel.mount_syscalls import MNT_DETACH, umount2
from wherryd.kernel.mounts import mount_cgroup2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherryd.kernel.hierarchies import Hierarchies, Hierarchy

V1_NAMES = {"io": "blkio"}
"""What v1 calls a controller that has another name in v2."""

_V2_NAMES = {v1: v2 for v2, v1 in V1_NAMES.items()}


class Tree:
    """The groups of one supervisor. `v2` is their parent; `v1` is the parent of each v1 controller's.

    `controllers` are those of v2 that we may use. Made by `plant`.
    """

    def __init__(
        self, instance: str, hierarchies: Hierarchies, base: Path, v1: dict[str, Path], own_mount: Path
    ) -> None:
        self.hierarchies = hierarchies
        self.base = base
        self.v2 = base / instance
        self.controllers = frozenset(cgroups.read(f"{base}/cgroup.controllers").split())
        self.v1 = {name: path for name, path in v1.items() if name not in self.controllers}
        self._leaf = base / f"{instance}.self"
        self._own_mount = own_mount
        self._enabled: set[str] = set()
        self.on_made: Callable[[Path], None] = _nobody_watches
        """Hears of every parent that is made later than the rest."""

    def version_of(self, controller: str) -> int | None:
        """Return where a controller (by its v2 name) is, 2 or 1; None when this host has it nowhere."""
        if controller in self.controllers:
            return 2
        return 1 if controller in self.v1 else None

    def why_missing(self, controller: str) -> str:
        """Return that, and why, a controller is nowhere that we could use it."""
        hierarchy = self.hierarchies.legacy.get(V1_NAMES.get(controller, controller))
        if hierarchy is not None and hierarchy.read_only:
            reason = f"its hierarchy {hierarchy.mountpoint} is mounted read-only"
        elif controller in self.hierarchies.v2_controllers:
            reason = f"it was not delegated to {self.base}"
        else:
            reason = "it is in no cgroup hierarchy that is mounted here"
        return f"cgroup controller {controller} cannot be used: {reason}"

    def cpuset_files(self, kind: str) -> tuple[Path, ...]:
        """Return the files that may say which "cpus" or "mems" a container can be bound to."""
        if "cpuset" in self.v1:
            root = self.v1["cpuset"].parent
            return root / f"cpuset.effective_{kind}", root / f"cpuset.{kind}"
        return (self.base / f"cpuset.{kind}.effective",)

    def make(self) -> None:
        """Make the parents, and enable what every container has. Raises KernelFailure."""
        for path in {self.v2, *(self.v1[name] for name in ALWAYS if name in self.v1)}:
            _make_directory(path)
        self.enable([name for name in ALWAYS if name in self.controllers])

    def make_v1(self, controller: str) -> None:
        """Make the parent of a v1 controller's groups, if there is none yet. Raises KernelFailure."""
        path = self.v1[controller]
        if not path.is_dir():
            _make_directory(path)
            self.on_made(path)
        if controller == "cpuset":
            fill_cpuset(path)

    def enable(self, controllers: Iterable[str]) -> None:
        """Have controllers of v2 in every container's group: parents first, only what is not there.

        Nobody can take them away from us then: a parent cannot disable what a child has enabled.
        Raises KernelFailure.
        """
        wanted = [name for name in controllers if name not in self._enabled]
        if not wanted:
            return
        for path in (self.base, self.v2):
            there = cgroups.read(f"{path}/cgroup.subtree_control").split()
            for name in wanted:
                if name not in there:
                    self._enable(path, name)
        self._enabled.update(wanted)

    def _enable(self, path: Path, controller: str) -> None:
        try:
            if path == self.base:
                self._clear_base()
            cgroups.write(f"{path}/cgroup.subtree_control", f"+{controller}")
        except KernelError as error:
            raise KernelFailure(
                f"cgroup controller {controller} cannot be enabled in {path}: {error.strerror}",
                errno=error.errno,
                path=str(path),
            ) from error

    def _clear_base(self) -> None:
        """Move every process of the root to a leaf, unless it is the hierarchy's own root, which is exempt.

        With processes in it, some controllers are refused, and others make it a root of threads, below which
        no container can be: cgroup-v2.rst, "No Internal Process Constraint" and "Threads".
        """
        if (self.base / "cgroup.type").exists() and cgroups.read(f"{self.base}/cgroup.procs").split():
            _make_directory(self._leaf)
            _move_all(self.base, self._leaf)
            journal.info("moved processes of the cgroup that containers go below", cgroup=self._leaf)

    def close(self) -> None:
        """Remove the parents that are empty; containers that go on keep theirs."""
        left = [path for path in (self.v2, *self.v1.values()) if not _remove_if_unused(path)]
        if not left:
            self._leave_leaf()
            self._unmount_own()

    def _unmount_own(self) -> None:
        if self.hierarchies.v2 == str(self._own_mount):
            umount2(str(self._own_mount), MNT_DETACH)
            self._own_mount.rmdir()

    def _leave_leaf(self) -> None:
        """Bring processes back to where they were before there were containers."""
        if not self._leaf.is_dir():
            return
        try:
            enabled = cgroups.read(f"{self.base}/cgroup.subtree_control").split()
            for name in enabled:
                cgroups.write(f"{self.base}/cgroup.subtree_control", f"-{name}")
            _move_all(self._leaf, self.base)
            cgroups.remove(str(self._leaf))
        except KernelError as error:
            journal.info("processes stay in their leaf cgroup", cgroup=self._leaf, error=error)


def plant(instance: str, run_dir: Path) -> Tree:
    """Find where groups go, mounting v2 below `run_dir` when it is mounted nowhere; make nothing else.

    Raises KernelFailure.
    """
    try:
        hierarchies, own_mount = find_hierarchies(), run_dir / "cgroup2"
        if hierarchies.unified is None:
            hierarchies = _mount_own(own_mount)
        unified = hierarchies.unified
        assert unified is not None  # noqa: S101 - just mounted
        delegated = _delegated(unified)
        if delegated is not None and cgroups.populated(f"{unified.mountpoint}/{instance}"):
            journal.info(
                "containers run outside of what was delegated: others go there too", cgroup=delegated
            )
            delegated = None
        v1 = {
            _V2_NAMES.get(name, name): _root_of(hierarchy, own=delegated is not None) / instance
            for name, hierarchy in hierarchies.legacy.items()
            if not hierarchy.read_only
        }
        return Tree(instance, hierarchies, delegated or Path(unified.mountpoint), v1, own_mount)
    except KernelError as error:
        raise KernelFailure(str(error), errno=error.errno, path=error.path) from error


def _delegated(unified: Hierarchy) -> Path | None:
    """Return the nearest group around us that was delegated, as to a systemd unit with Delegate=yes."""
    group = unified.own
    while group:
        if is_delegated(unified.mountpoint + group):
            return Path(unified.mountpoint + group)
        group = group.rpartition("/")[0]
    return None


def _root_of(hierarchy: Hierarchy, *, own: bool) -> Path:
    """Return the group of a v1 hierarchy that ours go below: the mounted one, or the one that we are in."""
    path = Path(hierarchy.mountpoint + (hierarchy.own if own else ""))
    return path if path.is_dir() else Path(hierarchy.mountpoint)


def fill_cpuset(path: Path) -> None:
    """Give a new v1 cpuset what its parent has: it starts with nothing, and takes no process then."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not cgroups.read(f"{path}/{file}").strip():
            cgroups.write(f"{path}/{file}", cgroups.read(f"{path.parent}/{file}"))


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise KernelFailure(
            f"cgroup {path} cannot be made: {error.strerror}", errno=error.errno, path=str(path)
        ) from error


def _move_all(source: Path, target: Path) -> None:
    """Move every process, but those that end meanwhile, and those of an outer PID namespace (0)."""
    for pid in filter(int, cgroups.read(f"{source}/cgroup.procs").split()):
        try:
            cgroups.write(f"{target}/cgroup.procs", pid)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise


def _remove_if_unused(path: Path) -> bool:
    """Remove a parent without groups; say whether it is gone."""
    try:
        if any(entry.is_dir() for entry in os.scandir(path)):
            return False
        cgroups.remove(str(path))
    except FileNotFoundError:
        return True
    except KernelError as error:
        journal.warning("cgroup not removed", cgroup=path, error=error)
        return False
    return True


def _mount_own(path: Path) -> Hierarchies:
    path.mkdir(mode=0o700, exist_ok=True)
    try:
        mount_cgroup2(str(path))
    except KernelError as error:
        path.rmdir()
        raise KernelFailure(
            f"cgroup v2 is mounted nowhere, and cannot be mounted on {path}: {error.strerror}",
            hint=error.hint or "mount it as root of the machine: mount -t cgroup2 cgroup2 DIRECTORY",
            errno=error.errno,
            path=str(path),
        ) from error
    journal.info("cgroup v2 was mounted nowhere: mounted it", path=path)
    return find_hierarchies()


def _nobody_watches(path: Path) -> None:
    """Before somebody does: all that are there are looked at then."""
