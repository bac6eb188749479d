"""Which files of a container a worker is to see, and keeping them in place while it does.

Owns the choice: the mounts of the running container, or new ones of the same directories. Makes the directory
of a container that was never started.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict
from wherryd.containers import files
from wherryd.containers.lifecycle import Phase
from wherryd.files.job import View
from wherryd.network.hosts import etc_files

if TYPE_CHECKING:
    from collections.abc import Generator

    from wherryd.containers.container import Container
    from wherryd.containers.services import Services

Binds = tuple[tuple[str, str, tuple[str, ...], bool], ...]

_PASSED_ON = ("ro", "bind")


class JustEnded(Conflict):
    """The process was gone when its files were to be seen; the record of its end is on the way."""


async def settled(container: Container) -> None:
    """Wait until a start that is under way has come to its end."""
    while container.phase is Phase.STARTING:
        await container.started.wait()


@contextmanager
def root(container: Container, services: Services, *, compare: bool = False) -> Generator[View]:
    """Let a worker see the root without what is mounted on it; with `compare` also what it was made from."""
    image = container.config.image
    # What is compared is the overlay; binds of an image are no change.
    binds = () if compare else tuple((path, target, ("ro",), False) for path, target in image.binds)
    with _view(container, services, binds) as view:
        yield view._replace(binds=binds, compare=compare, work=None)


@contextmanager
def everything(container: Container, services: Services, *, writable: bool) -> Generator[View]:
    """Let a worker see what the container sees, or would see if it ran."""
    binds = () if container.alive else _binds(container, services)
    with _view(container, services, binds) as view:
        work = f"{container.directory}/work" if writable else None
        fixed = container.config.spec.read_only and not container.alive
        yield view._replace(mounts=True, writable=writable, work=work, fixed_root=fixed)


@contextmanager
def _view(container: Container, services: Services, binds: Binds) -> Generator[View]:
    settings = services.settings
    view = View(
        layers=container.config.image.layers,
        upper=f"{container.directory}/upper",
        work=None,
        mountpoint=str(settings.mountpoint),
        binds=binds,
        own_paths=settings.own_paths,
    )
    if container.phase is Phase.REMOVING:
        raise Conflict(f"container {container.name} was removed meanwhile")
    with container.readers.one(container.name):
        if container.alive:
            with _process(container) as pidfd:
                yield view._replace(pidfd=pidfd)
        else:
            if not container.directory.exists():
                etc = etc_files(container.config.spec, container.config.hostname, ())
                files.prepare(container.directory, container.config, etc, services.spares)
            yield view


@contextmanager
def _process(container: Container) -> Generator[int]:
    """Hold on to the container's process: a descriptor of its own, as the run may end meanwhile."""
    if container.run is None:
        raise JustEnded(f"container {container.name} has just ended: try again")
    pidfd = os.dup(container.run.pidfd)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _binds(container: Container, services: Services) -> Binds:
    """Return what a start would bind into the root."""
    plan = services.plan_of(container.id, container.config)
    return tuple(
        (
            os.path.join(container.directory, mount.source),
            mount.destination,
            tuple(option for option in mount.options if option in _PASSED_ON),
            mount.foreign,
        )
        for mount in (*plan.mounts, *plan.asked_mounts)
        if mount.type == "bind"
    )
