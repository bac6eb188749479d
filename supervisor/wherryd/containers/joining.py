"""The network namespace that a container starts in, when it is not a new one with loopback only."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict
from wherryd.containers import files
from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import pidfd_send_signal
from wherryd.network import hosts
from wherryd.network.modes import other_container, takes_namespace

if TYPE_CHECKING:
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.network.hosts import Etc


def needs_namespace(container: Container) -> bool:
    """Say whether a start takes a namespace that is there before it."""
    return takes_namespace(container.config.spec)


def join_nowait(container: Container, services: Services) -> int | None:
    """Return a namespace for a start, None when it has to be made first: see `join`."""
    other = other_container(container.config.spec)
    if other is not None:
        return namespace_of(services.registry.find(other))
    attached = services.networks.attach_nowait(container)
    return None if attached is None else attached.namespace


async def join(container: Container, services: Services) -> int:
    """Return a namespace for a start; the descriptor is the caller's. Raises WherryError."""
    other = other_container(container.config.spec)
    if other is not None:
        return namespace_of(services.registry.find(other))
    attached = await services.networks.attach(container)
    return attached.namespace


def etc_files(container: Container, services: Services) -> Etc:
    """Return what a container's files in /etc say; one in another's network has the other's."""
    config = container.config
    other = other_container(config.spec)
    if other is None:
        nameservers = services.networks.names.nameservers(container.endpoints)
        return hosts.etc_files(config.spec, config.hostname, container.endpoints, nameservers)
    directory = services.registry.find(other).directory
    return hosts.Etc(*((directory / name).read_bytes() for name in files.ETC_FILES))


def namespace_of(container: Container) -> int:
    """Return the network namespace of a container. Raises Conflict when it does not run."""
    run = container.run
    if run is not None and container.alive:
        with ExitStack() as undo, suppress(FileNotFoundError, KernelError):
            namespace = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, namespace)
            # It lives still, so the process id was its own and not somebody's who came after it.
            pidfd_send_signal(run.pidfd, 0)
            undo.pop_all()
            return namespace
    raise Conflict(
        f"container {container.name} is not running: its network cannot be joined", hint="start it first"
    )
