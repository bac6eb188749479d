"""Volume requests: directories that outlive the containers which mount them."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""


class VolumeSummary(Value):
    """A volume. `anonymous`: made for a container without a name; `users` are the containers that have it.

    `mountpoint` is its directory on the host; `created_at` is in seconds since the epoch.
    """

    name: str
    labels: Mapping[str, str]
    created_at: float
    anonymous: bool
    mountpoint: str
    users: tuple[str, ...]


class CreateVolume(Call[VolumeSummary]):
    """Make an empty volume (None: with a name made up); one that exists is answered as it is."""

    op = "volume_create"
    answer = VolumeSummary
    name: str | None = None
    labels: Mapping[str, str] = NOTHING


class InspectVolume(Call[VolumeSummary]):
    """Ask for one volume."""

    op = "volume_inspect"
    answer = VolumeSummary
    name: str


class ListVolumes(Call[tuple[VolumeSummary, ...]]):
    """Ask for volumes, by name.

    Filters, as docker: ("name", substring), ("label", key or key=value), ("dangling", "true" or "false").
    Same key twice: either; different keys: both.
    """

    op = "volume_ls"
    answer = tuple[VolumeSummary, ...]
    filters: tuple[tuple[str, str], ...] = ()


class RemoveVolume(Call[None]):
    """Remove a volume that no container has."""

    op = "volume_rm"
    name: str
