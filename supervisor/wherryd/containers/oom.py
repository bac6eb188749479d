"""Watches containers for OOM kills of their processes while they go on, and reads the last counts.

One epoll watches all of them. A container with a memory limit is watched before its first process begins;
one without, which only a limit above it can kill, once it has lived for a moment: most have ended by then.
What the counts mean is said in oom_verdict.py.
"""

from __future__ import annotations

import select
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.containers.telling import tell_oom
from wherryd.kernel.errors import KernelError
from wherryd.kernel.oom import OomNotice, is_dying, read_kills
from wherryd.kernel.shortage import shortage
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from wherryd.cgroups.group import Group
    from wherryd.containers.container import Container
    from wherryd.containers.oom_verdict import OomState
    from wherryd.containers.services import Services
    from wherryd.kernel.oom import Kills

UNWATCHED = 0.05
"""Seconds in which most containers end: until then the kernel is not asked to tell of one without a limit."""

SETTLE = (0.02, 0.08, 0.4)
"""Seconds between a notice and the looks that follow, until the count has moved: v1 gives notice before the
kernel has chosen a victim, and v2 also of a limit that was reached a hundred times a second."""


def last_kills(group: Group) -> Kills | None:
    """Return the counts of a container's group; None where they cannot be known.

    Raises KernelError when there is no descriptor to read them with: they can be known a moment later.
    """
    place = group.path_of("memory")
    if place is None:
        return None
    try:
        return read_kills(str(place[0]), place[1])
    except KernelError as error:
        if shortage(error) is not None:
            raise
        journal.error("OOM counters not read", cgroup=place[0], error=error)
        return None


class _Watched:
    """A container whose kills we are told of."""

    def __init__(self, container: Container, place: tuple[Path, int], notice: OomNotice) -> None:
        self.container = container
        self.path, self.version = str(place[0]), place[1]
        self.notice = notice
        self.over = False
        self.missed = False
        """Whether the kernel told of something before the container was known to run."""


class OomWatch:
    """Watches the containers of one supervisor. `run` is its task."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, _Watched] = {}
        self._early: dict[str, _Watched] = {}

    async def run(self, services: Services) -> None:
        """Tell of killed children, until cancelled."""
        for watched in self._watched.values():
            self._arm(watched)
        async with open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._poll.fileno())
                for fd, _ in self._poll.poll(0):
                    if fd in self._watched:
                        start_soon(nursery, self._look, self._watched[fd], services)

    def close(self) -> None:
        """Give up the descriptor."""
        self._poll.close()

    def watch_start(self, container: Container, group: Group) -> None:
        """Watch a container that is about to start; `watching` goes on with it, or `forget_start` ends it."""
        self.forget_start(container)
        watched = _watch(container, group)
        if watched is not None:
            self._early[container.id] = watched
            self._add(watched, 0)

    def forget_start(self, container: Container) -> None:
        """End what `watch_start` began, if the start came to nothing."""
        watched = self._early.pop(container.id, None)
        if watched is not None:
            self._drop(watched)

    def watches_start(self, container: Container) -> bool:
        """Say whether a container was watched before it began."""
        return container.id in self._early

    @contextmanager
    def watching(self, container: Container, group: Group) -> Generator[None]:
        """Watch a container that runs until the end of the block, where the host counts its kills."""
        watched = self._early.pop(container.id, None)
        if watched is not None:
            if watched.missed:
                self._poll.modify(watched.notice.fd, _look_now(watched))
        else:
            watched = _watch(container, group)
            if watched is None:
                yield
                return
            # Nobody was told of what happened before, nor in v1 of what is just about to.
            unsure = watched.version == 1 or _may_have_moved(group, container.oom)
            self._add(watched, _look_now(watched) if unsure else 0)
        try:
            yield
        finally:
            self._drop(watched)

    def _add(self, watched: _Watched, events: int) -> None:
        fd = watched.notice.fd
        self._watched[fd] = watched
        self._poll.register(fd, events or select.EPOLLONESHOT | watched.notice.events)

    def _drop(self, watched: _Watched) -> None:
        watched.over = True
        del self._watched[watched.notice.fd]
        watched.notice.close()  # epoll forgets what nobody has open

    def _arm(self, watched: _Watched) -> None:
        self._poll.modify(watched.notice.fd, select.EPOLLONESHOT | watched.notice.events)

    async def _look(self, watched: _Watched, services: Services) -> None:
        """Look until the count has moved, or was given time enough to; then wait for the next notice."""
        for seconds in SETTLE:
            await trio.sleep(seconds)
            if watched.over:
                return
            try:
                watched.notice.rearm()
                if self._moved(watched, services):
                    break
            except KernelError as error:
                journal.error("OOM counters not read", cgroup=watched.path, error=error)
                return
        self._arm(watched)

    def _moved(self, watched: _Watched, services: Services) -> bool:
        """Tell of new kills, if there are any and the first process goes on; say whether there are."""
        container = watched.container
        if container.run is None:
            watched.missed = True  # it is looked at again when it runs: the counts are not compared before
            return True
        kills = read_kills(watched.path, watched.version)
        if kills is None or not _has_moved(kills, container.oom):
            return False
        # The victim may have ended, and been told so: who dies now, dies of something else.
        for suspect in container.oom.suspects if kills.oom_kill > container.oom.blamed else ():
            suspect.dying = suspect.dying or is_dying(suspect.pid, suspect.pidfd)
        if container.pid is None or is_dying(container.pid, container.run.pidfd):
            return True  # its end will tell
        scope = container.oom.scope(kills)
        tell_oom(container, services, scope, kills.oom_kill - container.oom.told)
        container.oom.take(kills, scope)
        services.records.save(container)
        return True


def _look_now(watched: _Watched) -> int:
    """Return what wakes us at once: each of these files can be written."""
    return select.EPOLLONESHOT | watched.notice.events | select.EPOLLOUT


def _has_moved(kills: Kills | None, state: OomState) -> bool:
    return kills is not None and kills.oom_kill > state.told


def _may_have_moved(group: Group, state: OomState) -> bool:
    try:
        return _has_moved(last_kills(group), state)
    except KernelError as error:
        journal.debug("OOM counters are read in a moment", error=error)
        return True


def _watch(container: Container, group: Group) -> _Watched | None:
    place = group.path_of("memory")
    if place is None:
        return None
    try:
        return _Watched(container, place, OomNotice(str(place[0]), place[1]))
    except KernelError as error:
        journal.error("OOM kills are told at the end only", id=container.id, error=error)
        return None
