"""A container's beginning: from what was asked for to a container that is on record."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from wherry_protocol.limits import NO_LIMITS
from wherryd.cgroups import checks, weights
from wherryd.containers import config, mounting, names, requirements
from wherryd.containers.container import Container
from wherryd.containers.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.run_spec import RunSpec
    from wherry_protocol.system import Progress
    from wherryd.containers.records import Records
    from wherryd.containers.services import Services


async def make(
    spec: RunSpec, services: Services, progress: Callable[[Progress], None] | None = None
) -> Container:
    """Return a new container (phase CREATED) that is not in the registry yet.

    Raises BadRequest, Conflict, ImageError, NoSpace.
    """
    spec = _settle(spec, services)
    _check(spec, services)
    if spec.name is not None:
        services.registry.check_free(spec.name)
    if spec.requires:
        spec = requirements.settle(spec, services.registry)
    if spec.volumes or spec.volumes_from:
        await mounting.check(spec, services)
    image = await services.images.resolve(spec.image, spec.base_dir, progress)
    container_id = names.new_id()
    settled = config.resolve(spec, image, container_id)
    made: tuple[str, ...] = ()
    if mounting.mounts_anything(spec, image):
        mounts, made = await mounting.provide(spec, image, services)
        settled = dataclasses.replace(settled, mounts=mounts)
    container = Container(
        container_id=container_id,
        name=spec.name or names.new_name(services.registry.names),
        config=settled,
        directory=services.settings.containers_dir / container_id,
        created_at=time.time(),
    )
    container.made_volumes = made
    container.recorded = False
    return container


def _settle(spec: RunSpec, services: Services) -> RunSpec:
    """Return a request with everything said that the supervisor's settings decide."""
    return services.networks.settle(spec).replace(log=services.log_defaults.limits.fill_in(spec.log))


def _check(spec: RunSpec, services: Services) -> None:
    config.check_spec(spec)
    if spec.limits is not NO_LIMITS:
        checks.check(spec.limits, services.cgroups)
        if spec.limits.io_weight is not None:
            weights.check_heeded(services.cgroups)


def reserve(container: Container, services: Services) -> None:
    """Take a new container in; `record` is to follow. Raises Conflict, and then nothing of it is left."""
    try:
        services.registry.add(container)
    except BaseException:
        services.volumes.withdraw(container.made_volumes)
        raise


def record(container: Container, services: Services) -> None:
    """Put a new container on record. Raises NoSpace."""
    services.records.add(container)
    container.recorded = True
    tell(container, services, "create")


def add(container: Container, services: Services) -> None:
    """Take a new container in and put it on record. Raises Conflict, NoSpace; then nothing of it is left."""
    reserve(container, services)
    try:
        record(container, services)
    except BaseException:
        services.registry.discard(container)
        services.volumes.withdraw(container.made_volumes)
        raise


def keep_spec(records: Records, container: Container, spec: RunSpec) -> None:
    """Put the changed request of a container on record. Raises NoSpace, and then nothing has changed."""
    before = container.config
    container.config = dataclasses.replace(before, spec=spec)
    try:
        records.set_config(container)
    except BaseException:
        container.config = before
        raise


async def preview(spec: RunSpec, services: Services) -> str:
    """Return the plan of a run as text; nothing is made, but a new archive is unpacked."""
    spec = _settle(spec, services)
    _check(spec, services)
    if spec.volumes or spec.volumes_from:
        await mounting.check(spec, services)
    image = await services.images.resolve(spec.image, spec.base_dir)
    container_id = names.new_id()
    mounts = mounting.preview(spec, image, services)
    resolved = config.resolve(spec, image, container_id, mounts)
    return services.plan_of(container_id, resolved).describe()
