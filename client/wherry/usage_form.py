"""What takes room, in docker's words and field names.

Owns the sums and the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

from wherry.docker_form import container_row
from wherry.human import human_size
from wherry.image_form import image_rows
from wherry.volume_form import volume_row
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wherry_protocol.housekeeping import ContainerUsage, ImageUsage, Usage, VolumeUsage

UNKNOWN = "unknown"
"""What could not be counted in time."""

_LIVING = {"running", "paused", "restarting"}


def usage_rows(usage: Usage) -> list[dict[str, Any]]:
    """Return the rows of `system df`."""
    needed = sum(each.image.size - each.shared_size for each in usage.images if each.users)
    shared = usage.image_size - sum(each.image.size - each.shared_size for each in usage.images)
    kept = needed + (shared if any(each.users and each.shared_size for each in usage.images) else 0)
    return [
        _row(
            "Images",
            len(usage.images),
            sum(1 for each in usage.images if each.users),
            usage.image_size,
            usage.image_size - kept,
        ),
        _counted(
            "Containers",
            [(each.size, each.container.state in _LIVING) for each in usage.containers],
        ),
        _counted("Local Volumes", [(each.size, bool(each.volume.users)) for each in usage.volumes]),
    ]


def _counted(kind: str, sizes: list[tuple[int | None, bool]]) -> dict[str, Any]:
    active = sum(1 for _size, living in sizes if living)
    if any(size is None for size, _living in sizes):
        return _row(kind, len(sizes), active, None, None)
    total = sum(size or 0 for size, _living in sizes)
    return _row(kind, len(sizes), active, total, sum(size or 0 for size, living in sizes if not living))


def _row(kind: str, count: int, active: int, size: int | None, free: int | None) -> dict[str, Any]:
    share = f" ({round(100 * free / size)}%)" if size and free is not None else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": _size(size),
        "Reclaimable": _size(free) + share,
    }


def _size(size: int | None) -> str:
    return UNKNOWN if size is None else human_size(size)


def usage_document(usage: Usage, now: float) -> dict[str, Any]:
    """Return the document of `system df -v`."""
    return {
        "Images": _images(usage.images, now),
        "Containers": [_container(each, now) for each in usage.containers],
        "Volumes": [_volume(each) for each in usage.volumes],
    }


def _images(images: Iterable[ImageUsage], now: float) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "SharedSize": human_size(each.shared_size),
            "UniqueSize": human_size(each.image.size - each.shared_size),
            "Containers": len(each.users),
        }
        for each in images
        for row in image_rows(each.image, now)
    ]


def _container(usage: ContainerUsage, now: float) -> dict[str, Any]:
    return {
        **container_row(usage.container, now),
        "LocalVolumes": usage.volumes,
        "Size": _size(usage.size),
    }


def _volume(usage: VolumeUsage) -> dict[str, Any]:
    return {**volume_row(usage.volume), "Size": _size(usage.size)}
