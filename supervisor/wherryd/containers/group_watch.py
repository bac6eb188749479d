"""Tells of control groups that somebody else has removed while their container runs.

The kernel refuses to remove a group that has processes, so these were moved out of it before. Nothing bounds
them there any more, and what is done through a group (exec, top, pause, update) can be no more; nor can the
group be put back, as what it had counted is lost. So it is told, at once. Stop, kill and the end go by the
first process, which takes all others of its pid namespace along. Must never tell of a removal of ours.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.containers.telling import tell
from wherryd.kernel.errors import KernelError
from wherryd.kernel.inotify import Removals

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.cgroups.tree import Tree
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


class GroupWatch:
    """Watches the parents of all containers' groups. `run` is its task."""

    def __init__(self, tree: Tree) -> None:
        self._removals = Removals()
        self._watched: set[Path] = set()
        self._tree = tree
        tree.on_made = self._watch

    def close(self) -> None:
        """Give up the descriptor."""
        self._removals.close()

    async def run(self, services: Services) -> None:
        """Tell of groups that are gone, until cancelled."""
        for path in {self._tree.v2, *self._tree.v1.values()}:
            self._watch(path)
        while True:
            await trio.lowlevel.wait_readable(self._removals.fd)
            names = self._removals.read()
            for container in tuple(services.registry) if names is None else _named(names, services):
                self.look(container, services)

    def _watch(self, path: Path) -> None:
        """Watch a parent; one that is not there yet is watched when it is made."""
        if path in self._watched or not path.is_dir():
            return
        try:
            self._removals.watch(str(path))
        except KernelError as error:
            journal.warning("who removes cgroups by hand is not told of", cgroup=path, error=error)
            return
        self._watched.add(path)

    def look(self, container: Container, services: Services) -> None:
        """Look whether all groups of a container that runs are there, and tell of those that are not."""
        run = container.run
        if run is None or _has_ended(run.pidfd):
            return
        group = services.group_of(container.id)
        gone = [path for path in group.wanted(container.config.spec.limits) if not path.is_dir()]
        for path in gone:
            if path not in run.lost_groups:
                journal.warning("cgroup removed by somebody", id=container.id, cgroup=path)
                tell(container, services, "cgroup_lost", {"cgroup": str(path)})
        run.lost_groups = tuple(gone)


def _named(names: frozenset[str], services: Services) -> list[Container]:
    found = [services.registry.get(name) for name in names]
    return [container for container in found if container is not None]


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
