# Made from async_verbs/health.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about the health of containers."""

from __future__ import annotations

from wherry.verbs.base import VerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol import health
else:
    health = Lazy("wherry_protocol.health")


class HealthVerbs(VerbsBase):
    """One method per verb about health."""

    def wait_healthy(self, ref: str) -> bool:
        """Wait until a running container's probes have said how it is; return whether it is healthy.

        Raises Conflict when it has no healthcheck or does not run, and when it ends before that.
        """
        return self.call(health.WaitHealthy(ref=ref)) == "healthy"
