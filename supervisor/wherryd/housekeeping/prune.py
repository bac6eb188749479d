"""What may go: containers that do not run, images and volumes that no container has.

Owns the choice, and removing one by one: what came into use meanwhile stays, and is not told of.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, NotFound
from wherry_protocol.housekeeping import Pruned
from wherryd import journal
from wherryd.containers.mounting import users_of_volume
from wherryd.events.of_images import tell_removed
from wherryd.housekeeping.usage import sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherryd.containers.container import Container
    from wherryd.containers.manager import Manager
    from wherryd.images.store import ImageStore

Filters = tuple[tuple[str, str], ...]

_KEYS = ("until", "label", "label!")


def check(filters: Filters) -> None:
    """Raises BadRequest for a key or a time that cannot be."""
    for key, value in filters:
        if key not in _KEYS:
            raise BadRequest(f"filter {key[:40]!r} is unknown", hint="known: until, label, label!")
        if key == "until":
            _time(value)


def _time(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadRequest(f"filter until={text[:40]} is no number of seconds since the epoch")
    return seconds


def matches(filters: Filters, created_at: float, labels: Mapping[str, str]) -> bool:
    """Say whether something passes every filter."""
    return all(_matches(key, value, created_at, labels) for key, value in filters)


def _matches(key: str, value: str, created_at: float, labels: Mapping[str, str]) -> bool:
    if key == "until":
        return created_at < _time(value)
    name, equals, wanted = value.partition("=")
    has = name in labels and (not equals or labels[name] == wanted)
    return has if key == "label" else not has


async def prune_containers(manager: Manager, filters: Filters) -> Pruned:
    """Remove every container that does not run and passes the filters."""
    check(filters)

    def may_go(container: Container) -> bool:
        return not container.active and matches(filters, container.created_at, container.config.spec.labels)

    chosen = {container.id: container for container in manager.services.registry if may_go(container)}
    counted = await sizes({identity: container.directory for identity, container in chosen.items()})
    gone: list[str] = []
    left, before = [*chosen], -1
    while left and len(gone) != before:  # what another one requires goes after that
        before = len(gone)
        left = [identity for identity in left if not await _removed(manager, identity, gone)]
    return _pruned(gone, counted)


async def _removed(manager: Manager, identity: str, gone: list[str]) -> bool:
    """Remove a container and say whether that was possible; it is then among those that are `gone`."""
    try:
        await manager.remove(identity, force=False)
    except (Conflict, NotFound) as error:
        journal.debug("container stays", id=identity, error=error)
        return False
    gone.append(identity)
    return True


async def prune_volumes(manager: Manager, filters: Filters, *, every: bool) -> Pruned:
    """Remove volumes that no container has and that pass the filters: anonymous ones, or all."""
    check(filters)
    volumes, registry = manager.services.volumes, manager.services.registry
    chosen = [
        volume.name
        for volume in volumes
        if (every or volume.anonymous)
        and not users_of_volume(volume.name, registry)
        and matches(filters, volume.created_at, volume.labels)
    ]
    counted = await sizes({name: volumes.path(name) for name in chosen})
    gone: list[str] = []
    for name in chosen:
        try:
            volumes.remove(name, users_of_volume(name, registry))
        except (Conflict, NotFound) as error:
            journal.debug("volume stays", name=name, error=error)
            continue
        gone.append(name)
    return _pruned(gone, counted)


async def prune_images(manager: Manager, filters: Filters, *, every: bool) -> Pruned:
    """Remove images that no container uses and that pass the filters: those without a name, or all."""
    check(filters)
    images = manager.services.images
    lines: list[str] = []
    before = image_size(images)
    for image in images.list():
        if image.names and not every:
            continue
        if manager.user_of_image(image.digest) or not matches(filters, image.created_at, image.labels):
            continue
        try:
            done = await images.remove(image.digest, force=True, in_use=manager.user_of_image)
        except (Conflict, NotFound) as error:
            journal.debug("image stays", digest=image.digest, error=error)
            continue
        tell_removed(manager.services.events, image.digest, done)
        lines += done
    return Pruned(removed=tuple(lines), reclaimed=before - image_size(images))


def image_size(images: ImageStore) -> int:
    """Return the bytes on disk of every layer in the store: what images share counts once."""
    layers = (layer for image in images.list() for layer in images.inspect(image.digest).layers)
    return sum({layer.diff_id: layer.size for layer in layers}.values())


def _pruned(gone: list[str], counted: Mapping[str, int | None]) -> Pruned:
    return Pruned(removed=tuple(gone), reclaimed=sum(counted[each] or 0 for each in gone))
