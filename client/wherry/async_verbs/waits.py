"""The async client's verbs that wait for what comes after the run of now."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol import containers, waits
    from wherry_protocol.container_state import ExitStatus
else:
    containers = Lazy("wherry_protocol.containers")
    waits = Lazy("wherry_protocol.waits")


class AsyncWaitVerbs(AsyncVerbsBase):
    """One method per verb that waits for more than wait() does."""

    async def wait_next_exit(self, ref: str) -> ExitStatus:
        """Return the next exit: that of the run of now, else of the one that somebody begins.

        A start that fails is none. Raises NotFound when the container is removed before that.
        """
        found = (await self.call(containers.Inspect(ref=ref))).summary
        # What runs now began after what is over, whenever that was.
        after = None if found.state in {"running", "paused"} else found.started_at
        return await self.call(waits.WaitNextExit(ref=found.id, after=after))

    async def wait_removed(self, ref: str) -> ExitStatus:
        """Wait until the container is removed; return the exit of its last run, unknown if it had none."""
        found = (await self.call(containers.Inspect(ref=ref))).summary
        return await self.call(waits.WaitRemoved(container_id=found.id))
