"""One container's groups: a v2 one that it begins in, and one in each v1 hierarchy that it needs.

A v1 group is joined late, by the container's process itself: what its set-up takes is never charged to it.
Owns making, bounding and removing them. Must never wait: limits of what runs are changed by settling.py.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict, KernelFailure, Unsupported
from wherry_protocol.limits import NO_LIMITS
from wherryd import journal
from wherryd.cgroups.checks import device_number
from wherryd.cgroups.limits import ALWAYS, controllers_of, rates_of, writes
from wherryd.cgroups.tree import fill_cpuset
from wherryd.kernel import cgroups, failpoints
from wherryd.kernel.errors import KernelError
from wherryd.kernel.procfs import cgroup_pids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry_protocol.limits import Limits
    from wherryd.cgroups.limits import Write
    from wherryd.cgroups.spares import SpareGroups
    from wherryd.cgroups.tree import Tree

_HINTS = {
    errno.EBUSY: "more than that is in use now",
    errno.EINVAL: "the kernel does not take this value",
    errno.ENODEV: "it is no whole disk, or has no I/O scheduler that could do this",
    errno.EOPNOTSUPP: "the device has no I/O scheduler that could do this",
    errno.EROFS: "the hierarchy is mounted read-only",
}


class Group:
    """A container's groups. `v2` may not exist yet, or any more."""

    __slots__ = ("_spares", "container_id", "tree", "v2")

    def __init__(self, container_id: str, tree: Tree, spares: SpareGroups) -> None:
        self.container_id = container_id
        self.tree = tree
        self.v2 = tree.v2 / container_id
        self._spares = spares

    @property
    def v1(self) -> dict[str, Path]:
        """The v1 groups that there are, by controller (by its v2 name: "io" is blkio)."""
        there = {name: parent / self.container_id for name, parent in self.tree.v1.items()}
        return {name: path for name, path in there.items() if path.is_dir()}

    def path_of(self, controller: str) -> tuple[Path, int] | None:
        """Return the group that has a controller (by its v2 name), and the version; None when none has."""
        version = self.tree.version_of(controller)
        if version == 1:
            path = self.tree.v1[controller] / self.container_id
            return (path, 1) if path.is_dir() else None
        return None if version is None else (self.v2, version)

    def to_join(self, limits: Limits) -> tuple[str, ...]:
        """Return the v1 groups that each process is to join, co-mounted ones once."""
        known = self.tree.v1
        parents = dict.fromkeys(known[name] for name in controllers_of(limits) if name in known)
        return tuple([f"{parent}/{self.container_id}" for parent in parents])

    def wanted(self, limits: Limits) -> tuple[Path, ...]:
        """Return all groups that a container which runs is in."""
        return (self.v2, *map(Path, self.to_join(limits)))

    def make(self, limits: Limits) -> None:
        """Make what a start needs, with its limits. Raises KernelFailure, Unsupported.

        `remove` undoes it, also where it failed half way. Raises Conflict when something of the last run is
        left: its counts and what it uses are not this run's.
        """
        self._create_anew(str(self.v2))
        spare = self._spares.take(self.container_id)
        if not spare:
            for path in self.v1.values():
                self._clear(str(path))
            self.add(ALWAYS)
        if limits is NO_LIMITS and spare:
            return
        self.add(controllers_of(limits)[len(ALWAYS) :])
        for write in self.writes(limits):
            if not (spare and write.wish and write.controller == "pids"):
                self.write(write)

    def _create_anew(self, path: str) -> None:
        try:
            failpoints.hit("start.cgroup")
            cgroups.create(path)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise KernelFailure(str(error), errno=error.errno, path=path) from error
            self._clear(path)
            _create(path)

    def _clear(self, path: str) -> None:
        """Remove a group that the last run left. Raises Conflict, KernelFailure."""
        try:
            cgroups.remove(path)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise KernelFailure(str(error), errno=error.errno, path=path) from error
            pids = " ".join(map(str, cgroup_pids(path))) or "not to be seen from here"
            raise Conflict(
                f"cgroup {path}: processes of the last run are stuck in the kernel ({pids})",
                hint="they got SIGKILL, and end when the disk or device that they wait for answers; try then",
            ) from error

    def add(self, controllers: Iterable[str]) -> None:
        """Have controllers, which are here, in the groups. Raises KernelFailure, Unsupported."""
        for name in controllers:
            version = self.tree.version_of(name)
            if version == 1:
                self._add_v1(name)
            elif version is not None:
                self.tree.enable((name,))
            elif name not in ALWAYS:
                raise Unsupported(self.tree.why_missing(name))

    def _add_v1(self, controller: str) -> None:
        self.tree.make_v1(controller)
        path = self.tree.v1[controller] / self.container_id
        _create(str(path))
        if controller == "cpuset":
            fill_cpuset(path)

    def writes(self, limits: Limits) -> list[Write]:
        """Return what limits come to here. Raises BadRequest for what is no device."""
        numbers = {rate.path: device_number(rate.path) for rate in rates_of(limits)}
        return writes(limits, self.tree.version_of, numbers)

    def write(self, write: Write) -> None:
        """Write a limit; what nobody asked for, and cannot be, is passed over.

        Raises KernelFailure, Unsupported.
        """
        directory = self._directory_of(write.controller)
        if directory is None:
            if write.wish:
                return
            raise Unsupported(f"{write.option}: {self.tree.why_missing(write.controller)}")
        written = [_write(write, f"{directory}/{file}", text) for file, text in write.texts]
        if not any(written) and not write.wish:
            if not os.path.isdir(directory):
                raise gone(directory)
            version = self.tree.version_of(write.controller)
            raise Unsupported(
                f"{write.option}: cgroup controller {write.controller} (v{version}) has no {write.file} here",
                hint="this kernel is built without it, or only the other version of cgroups has it",
            )

    def _directory_of(self, controller: str) -> str | None:
        version = self.tree.version_of(controller)
        if version == 1:
            return f"{self.tree.v1[controller]}/{self.container_id}"
        return None if version is None else str(self.v2)

    def files_of(self, write: Write) -> list[str]:
        """Return the paths of the files that a limit is written to."""
        directory = self._directory_of(write.controller)
        paths = [f"{directory}/{file}" for file, _text in write.texts] if directory else []
        return [path for path in paths if os.path.exists(path)]

    def remove(self) -> None:
        """Remove all that is empty; what is left is told in the journal, and goes at the next start."""
        try:
            cgroups.remove(str(self.v2))
        except KernelError as error:
            journal.error("cgroup not removed", cgroup=self.v2, error=error)
        self.let_go()

    def let_go(self) -> None:
        """Have the v1 groups removed soon: the v2 one is gone, so nothing is in them."""
        self._spares.discard(self.container_id)


def gone(path: Path | str) -> KernelFailure:
    """Return the error for a group of a running container that is not there."""
    return KernelFailure(
        f"cgroup {path} is gone: somebody has removed it",
        hint="nothing bounds the container there any more: restart it",
        errno=errno.ENOENT,
        path=str(path),
    )


def _create(path: str) -> None:
    try:
        failpoints.hit("start.cgroup")
        cgroups.create(path)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise KernelFailure(str(error), errno=error.errno, path=path) from error


def _write(write: Write, path: str, text: str) -> bool:
    """Write a limit; False when there is no such file."""
    try:
        cgroups.write(path, text)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise KernelFailure(
            f"{write.option}: cgroup controller {write.controller} does not take {text!r}: {error.strerror}",
            hint=_HINTS.get(error.errno or 0),
            errno=error.errno,
            path=path,
        ) from error
    return True
