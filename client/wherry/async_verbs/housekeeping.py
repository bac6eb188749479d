"""The async client's verbs that tidy up."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol import housekeeping, log_options
    from wherry_protocol import limits as protocol_limits
    from wherry_protocol.container_state import ContainerDetails
    from wherry_protocol.housekeeping import Pruned, Usage
    from wherry_protocol.limits import Limits
    from wherry_protocol.log_options import LogOptions
    from wherry_protocol.restarts import RestartPolicy
else:
    housekeeping = Lazy("wherry_protocol.housekeeping")
    log_options = Lazy("wherry_protocol.log_options")
    protocol_limits = Lazy("wherry_protocol.limits")


class AsyncHousekeepingVerbs(AsyncVerbsBase):
    """One method per verb that tidies up.

    Filters of the prunes are ("until", seconds since the epoch as text): made before; ("label", "key" or
    "key=value"); ("label!", …): without it. All must hold.
    """

    async def update(
        self,
        ref: str,
        *,
        labels: Mapping[str, str] | None = None,
        remove_labels: Sequence[str] = (),
        stop_signal: str | None = None,
        stop_timeout: float | None = None,
        limits: Limits | None = None,
        restart: RestartPolicy | None = None,
        requires: Sequence[str] | None = None,
        log: LogOptions | None = None,
    ) -> ContainerDetails:
        """Change what may change of a container, running or not; return everything about it.

        The labels that `remove_labels` names go, then `labels` are added or replaced; None stays as it is,
        also in `limits`, where -1 takes `cpu_quota`, `memory`, `memory_swap`, `memory_reservation` or `pids`
        away. `requires` replaces all that was required. What is said in `log` holds from now on: a file that
        is too large is the last of its size, and those that are too many go.

        Raises Conflict when more memory is in use than it may have then, KernelFailure and Unsupported when
        the kernel does not take a limit: nothing is changed then.
        """
        return await self.call(
            housekeeping.Update(
                ref=ref,
                labels=labels or {},
                remove_labels=tuple(remove_labels),
                stop_signal=stop_signal,
                stop_timeout=stop_timeout,
                limits=limits or protocol_limits.NO_LIMITS,
                restart=restart,
                requires=None if requires is None else tuple(requires),
                log=log or log_options.NO_LOG_OPTIONS,
            )
        )

    async def prune_containers(self, *, filters: Sequence[tuple[str, str]] = ()) -> Pruned:
        """Remove every container that does not run; return their ids and the bytes that this freed."""
        return await self.call(housekeeping.PruneContainers(filters=tuple(filters)))

    async def prune_images(
        self,
        *,
        all: bool = False,  # noqa: A002 - as the command line calls it
        filters: Sequence[tuple[str, str]] = (),
    ) -> Pruned:
        """Remove images without a name that no container uses, with `all` those with names too."""
        return await self.call(housekeeping.PruneImages(all=all, filters=tuple(filters)))

    async def prune_volumes(
        self,
        *,
        all: bool = False,  # noqa: A002 - as the command line calls it
        filters: Sequence[tuple[str, str]] = (),
    ) -> Pruned:
        """Remove anonymous volumes that no container has, with `all` those with names too."""
        return await self.call(housekeeping.PruneVolumes(all=all, filters=tuple(filters)))

    async def disk_usage(self) -> Usage:
        """Return what images, containers and volumes take on disk."""
        return await self.call(housekeeping.DiskUsage())
