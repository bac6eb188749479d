"""What a new container is to mount, brought about: sources looked at, volumes made, filled, or taken back.

Owns who uses a volume: a container has it from its creation to its removal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, WherryError
from wherryd import journal
from wherryd.containers.mountpoints import check_sources, combine, split_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry_protocol.container_state import MountPoint
    from wherry_protocol.run_spec import RunSpec, Volume
    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry
    from wherryd.containers.services import Services
    from wherryd.images.reference import RootImage
    from wherryd.settings import Settings

SOURCE_TIMEOUT = 5.0
"""Seconds for looking at host paths: they may be on a file system that does not answer."""


async def check(spec: RunSpec, services: Services) -> None:
    """Refuse host paths that cannot be, and containers that are not there. Raises BadRequest."""
    _inherited(spec, services.registry)
    if spec.volumes:
        await _check_sources(spec.volumes, services.settings)


async def _check_sources(volumes: Sequence[Volume], settings: Settings) -> None:
    with trio.move_on_after(SOURCE_TIMEOUT):
        await trio.to_thread.run_sync(
            check_sources, volumes, (settings.state_dir, settings.run_dir), abandon_on_cancel=True
        )
        return
    sources = ", ".join(volume.source for volume in volumes)
    raise BadRequest(f"volume source {sources}: the file system did not answer in {SOURCE_TIMEOUT:.0f} s")


def mounts_anything(spec: RunSpec, image: RootImage) -> bool:
    """Say whether there is anything to provide."""
    return bool(spec.volumes or spec.volumes_from or image.config.volumes)


async def provide(
    spec: RunSpec, image: RootImage, services: Services
) -> tuple[tuple[MountPoint, ...], tuple[str, ...]]:
    """Make and fill what is missing; return the mounts and the names of the volumes that were made.

    The caller adds the container to the registry, or withdraws them, before it lets any other task go on.
    """
    wanted = combine(spec, _inherited(spec, services.registry), image.config.volumes)

    def in_use(name: str) -> bool:
        return any(container.alive for container in _users(name, services.registry))

    return await services.volumes.provide(wanted, image, in_use)


def preview(spec: RunSpec, image: RootImage, services: Services) -> tuple[MountPoint, ...]:
    """Return the mounts that `provide` would, with nothing made."""
    return services.volumes.preview(combine(spec, _inherited(spec, services.registry), image.config.volumes))


def _inherited(spec: RunSpec, registry: Registry) -> list[MountPoint]:
    found: list[MountPoint] = []
    for reference, read_only in map(split_reference, spec.volumes_from):
        mounts = registry.find(reference).config.mounts
        found += [mount.replace(read_only=mount.read_only or read_only) for mount in mounts]
    return found


def _users(volume: str, registry: Registry) -> Iterator[Container]:
    for container in registry:
        if any(mount.name == volume for mount in container.config.mounts):
            yield container


def users_of_volume(volume: str, registry: Registry) -> tuple[str, ...]:
    """Return the names of the containers that have a volume."""
    return tuple(container.name for container in _users(volume, registry))


def drop_volumes(container: Container, services: Services, *, all_made: bool = False) -> None:
    """Remove the anonymous volumes of a removed container; `all_made`: and the others made for it."""
    for mount in container.config.mounts:
        volume = services.volumes.get(mount.name) if mount.name else None
        if volume is None or not (volume.anonymous or (all_made and volume.name in container.made_volumes)):
            continue
        if users_of_volume(volume.name, services.registry):
            continue
        try:
            services.volumes.remove(volume.name, ())
        except WherryError as error:
            journal.warning("volume stays", name=volume.name, container=container.name, error=error)
