"""v1 groups made ahead, and removed afterwards, while the event loop has nothing else to do.

Of the hierarchies that every container is in: making or removing one takes 30 to 70 µs, renaming it 13. A v2
group cannot be renamed, so there are no spares of those.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import trio

from wherry_protocol.limits import NO_LIMITS
from wherryd import journal
from wherryd.cgroups.limits import ALWAYS, pids_max
from wherryd.kernel import cgroups
from wherryd.kernel.errors import KernelError

if TYPE_CHECKING:
    from wherryd.cgroups.tree import Tree

READY = 4
"""How many sets wait: as many as start at once on a small machine."""

PREFIX = "spare-"


class SpareGroups:
    """The groups that wait for a container, and those that wait for their removal. `run` is its task."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._parents = tuple(dict.fromkeys(str(tree.v1[name]) for name in ALWAYS if name in tree.v1))
        self._ready: list[str] = []
        self._dead: dict[str, None] = {}
        self._work = trio.Event()
        self._work.set()

    def take(self, container_id: str) -> bool:
        """Make a ready set the container's; False when none is ready, or there is nothing to make ahead.

        What is taken has the default limits.
        """
        if container_id in self._dead:
            self._remove(container_id)
        self._work.set()
        if not self._ready:
            return False
        spare = self._ready.pop()
        try:
            for parent in self._parents:
                os.rename(f"{parent}/{spare}", f"{parent}/{container_id}")
        except OSError as error:
            # The start makes its own, and says what is wrong.
            journal.warning("a spare cgroup could not be used", error=error)
            self._dead[spare] = None
            return False
        return True

    def discard(self, container_id: str) -> None:
        """Remove a container's v1 groups soon."""
        if self.tree.v1:
            self._dead[container_id] = None
            self._work.set()

    async def run(self) -> None:
        """Make what is missing and remove what is not needed, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._parents and len(self._ready) < READY:
                await trio.lowlevel.checkpoint()
                if not self._make():
                    break
            while self._dead:
                await trio.lowlevel.checkpoint()
                for name in tuple(self._dead)[:1]:
                    self._remove(name)

    def close(self) -> None:
        """Remove everything that is the supervisor's own."""
        for name in (*self._ready, *self._dead):
            self._remove(name)
        self._ready.clear()

    def sweep(self, alive: set[str]) -> None:
        """Remove what an earlier supervisor left: all groups but those of containers that live."""
        for parent in dict.fromkeys(self.tree.v1.values()):
            if parent.is_dir():
                found = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
                for name in set(found) - alive - set(self._ready):
                    self._remove(name)

    def _make(self) -> bool:
        name = f"{PREFIX}{secrets.token_hex(8)}"
        try:
            for parent in self._parents:
                cgroups.create(f"{parent}/{name}")
            if "pids" in self.tree.v1:
                cgroups.write(f"{self.tree.v1['pids']}/{name}/pids.max", pids_max(NO_LIMITS))
        except KernelError as error:
            # A start makes its own and says what is wrong.
            journal.debug("no spare cgroup", error=error)
            self._dead[name] = None
            return False
        self._ready.append(name)
        return True

    def _remove(self, name: str) -> None:
        self._dead.pop(name, None)
        for parent in dict.fromkeys(self.tree.v1.values()):
            try:
                cgroups.remove(f"{parent}/{name}")
            except KernelError as error:
                journal.error("cgroup not removed", cgroup=f"{parent}/{name}", error=error)
