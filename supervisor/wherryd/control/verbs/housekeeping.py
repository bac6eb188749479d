"""What requests that tidy up mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.housekeeping import (
    ContainerUsage,
    DiskUsage,
    ImageUsage,
    PruneContainers,
    Pruned,
    PruneImages,
    PruneVolumes,
    Update,
    Usage,
    VolumeUsage,
)
from wherryd.control.verbs.volumes import summary
from wherryd.housekeeping import prune
from wherryd.housekeeping.usage import sizes

if TYPE_CHECKING:
    from wherry_protocol.container_state import ContainerDetails
    from wherryd.control.context import Answers, Context, Streams


async def update(context: Context, call: Update) -> ContainerDetails:
    await context.manager.update(call.ref, call)
    return context.manager.inspect(call.ref)


async def prune_containers(context: Context, call: PruneContainers) -> Pruned:
    return await prune.prune_containers(context.manager, call.filters)


async def prune_images(context: Context, call: PruneImages) -> Pruned:
    return await prune.prune_images(context.manager, call.filters, every=call.all)


async def prune_volumes(context: Context, call: PruneVolumes) -> Pruned:
    return await prune.prune_volumes(context.manager, call.filters, every=call.all)


async def disk_usage(context: Context, _: DiskUsage) -> Usage:
    containers = tuple(context.manager.services.registry)
    volumes = tuple(context.volumes)
    places = {f"container {each.id}": each.directory for each in containers}
    places |= {f"volume {each.name}": context.volumes.path(each.name) for each in volumes}
    counted = await sizes(places)
    images = context.images.list()
    return Usage(
        images=tuple(
            ImageUsage(
                image=each,
                shared_size=context.images.shared_size(each.digest),
                users=context.manager.users_of_image(each.digest),
            )
            for each in images
        ),
        containers=tuple(
            ContainerUsage(
                container=each.summary(),
                volumes=sum(mount.name is not None for mount in each.config.mounts),
                size=counted[f"container {each.id}"],
            )
            for each in containers
        ),
        volumes=tuple(
            VolumeUsage(volume=summary(context, each), size=counted[f"volume {each.name}"])
            for each in volumes
        ),
        image_size=prune.image_size(context.images),
    )


ANSWERS: Answers = {
    Update: update,
    PruneContainers: prune_containers,
    PruneImages: prune_images,
    PruneVolumes: prune_volumes,
    DiskUsage: disk_usage,
}

STREAMS: Streams = {}
