"""The async client's verbs about the health of containers."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol import health
else:
    health = Lazy("wherry_protocol.health")


class AsyncHealthVerbs(AsyncVerbsBase):
    """One method per verb about health."""

    async def wait_healthy(self, ref: str) -> bool:
        """Wait until a running container's probes have said how it is; return whether it is healthy.

        Raises Conflict when it has no healthcheck or does not run, and when it ends before that.
        """
        return await self.call(health.WaitHealthy(ref=ref)) == "healthy"
