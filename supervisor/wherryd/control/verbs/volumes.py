"""What requests about volumes mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.volumes import CreateVolume, InspectVolume, ListVolumes, RemoveVolume, VolumeSummary
from wherryd.containers.mounting import users_of_volume
from wherryd.volumes import filters

if TYPE_CHECKING:
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.volumes.known import Known


async def create(context: Context, call: CreateVolume) -> VolumeSummary:
    anonymous = call.name is None
    return summary(context, context.volumes.create(call.name, call.labels, anonymous=anonymous))


async def inspect(context: Context, call: InspectVolume) -> VolumeSummary:
    return summary(context, context.volumes.find(call.name))


async def list_all(context: Context, call: ListVolumes) -> tuple[VolumeSummary, ...]:
    filters.check(call.filters)
    rows = (summary(context, volume) for volume in context.volumes)
    return tuple(row for row in rows if filters.matches(row, call.filters))


async def remove(context: Context, call: RemoveVolume) -> None:
    context.volumes.remove(call.name, _users(context, call.name))


def summary(context: Context, volume: Known) -> VolumeSummary:
    """Return a volume as clients see it."""
    return VolumeSummary(
        name=volume.name,
        labels=volume.labels,
        created_at=volume.created_at,
        anonymous=volume.anonymous,
        mountpoint=str(context.volumes.path(volume.name)),
        users=_users(context, volume.name),
    )


def _users(context: Context, name: str) -> tuple[str, ...]:
    return users_of_volume(name, context.manager.services.registry)


ANSWERS: Answers = {
    CreateVolume: create,
    InspectVolume: inspect,
    ListVolumes: list_all,
    RemoveVolume: remove,
}

STREAMS: Streams = {}
