"""The async client's verbs about volumes."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol import volumes
    from wherry_protocol.volumes import VolumeSummary
else:
    volumes = Lazy("wherry_protocol.volumes")


class AsyncVolumeVerbs(AsyncVerbsBase):
    """One method per verb about volumes."""

    async def create_volume(
        self, name: str | None = None, *, labels: Mapping[str, str] | None = None
    ) -> VolumeSummary:
        """Make an empty volume (None: with a name made up); one that exists is returned as it is."""
        return await self.call(volumes.CreateVolume(name=name, labels=labels or {}))

    async def inspect_volume(self, name: str) -> VolumeSummary:
        """Return what there is to know of a volume. Raises NotFound."""
        return await self.call(volumes.InspectVolume(name=name))

    async def volumes(self, *, filters: Sequence[tuple[str, str]] = ()) -> tuple[VolumeSummary, ...]:
        """Return the volumes, by name.

        Filters are ("name", part), ("label", "key" or "key=value"), ("dangling", "true" or "false").
        Same key twice: either; different keys: both.
        """
        return await self.call(volumes.ListVolumes(filters=tuple(filters)))

    async def remove_volume(self, name: str) -> None:
        """Remove a volume. Raises NotFound, Conflict naming a container that has it."""
        await self.call(volumes.RemoveVolume(name=name))
