"""Requests that tidy up: what takes room, what nobody needs any more, and what may change of a container."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.container_state import ContainerDetails, ContainerSummary
from wherry_protocol.images import ImageSummary  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.limits import NO_LIMITS, Limits
from wherry_protocol.log_options import NO_LOG_OPTIONS, LogOptions
from wherry_protocol.restarts import RestartPolicy  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value
from wherry_protocol.volumes import VolumeSummary  # noqa: TC001 - evaluated by convert.py

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""


class Update(Call[ContainerDetails]):
    """Change what may change of a container, running or not; what is None stays. Answers what it is then.

    The labels that `remove_labels` names go, then those of `labels` are added or replaced. Limits that are
    None in `limits` stay; UNLIMITED takes `cpu_quota`, `memory` (and its swap) or `memory_reservation` away.
    `requires` takes the place of what was required; so do the options of `log` that are said.
    """

    op = "update"
    answer = ContainerDetails
    ref: str
    labels: Mapping[str, str] = NOTHING
    remove_labels: tuple[str, ...] = ()
    stop_signal: str | None = None
    stop_timeout: float | None = None
    limits: Limits = NO_LIMITS
    restart: RestartPolicy | None = None
    requires: tuple[str, ...] | None = None
    log: LogOptions = NO_LOG_OPTIONS


class Pruned(Value):
    """What was removed (ids or names, or for images a line each), and the bytes on disk that this freed."""

    removed: tuple[str, ...]
    reclaimed: int


class PruneContainers(Call[Pruned]):
    """Remove every container that does not run.

    Filters, here and below, as docker: ("until", seconds since the epoch): made before; ("label", key or
    key=value); ("label!", key or key=value): without it. All must hold.
    """

    op = "prune_containers"
    answer = Pruned
    filters: tuple[tuple[str, str], ...] = ()


class PruneImages(Call[Pruned]):
    """Remove images without a name that no container uses; with `all` those with names too."""

    op = "prune_images"
    answer = Pruned
    all: bool = False
    filters: tuple[tuple[str, str], ...] = ()


class PruneVolumes(Call[Pruned]):
    """Remove anonymous volumes that no container has; with `all` those with names too."""

    op = "prune_volumes"
    answer = Pruned
    all: bool = False
    filters: tuple[tuple[str, str], ...] = ()


class ImageUsage(Value):
    """An image: `shared_size` of its bytes are other images' too; `users` are containers made from it."""

    image: ImageSummary
    shared_size: int
    users: tuple[str, ...]


class ContainerUsage(Value):
    """A container: `size` is what it wrote and logged, in bytes on disk; None: not counted in time.

    `volumes` is how many it has.
    """

    container: ContainerSummary
    volumes: int
    size: int | None


class VolumeUsage(Value):
    """A volume: `size` is in bytes on disk; None: not counted in time."""

    volume: VolumeSummary
    size: int | None


class Usage(Value):
    """What takes room. `image_size` counts what images share once."""

    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]
    image_size: int


class DiskUsage(Call[Usage]):
    """Ask what takes room."""

    op = "disk_usage"
    answer = Usage
