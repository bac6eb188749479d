"""The async client's verbs about the supervisor itself."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol import reload, system
    from wherry_protocol.reload import Reloaded
    from wherry_protocol.system import Pong, SystemInfo, VersionInfo
else:
    reload = Lazy("wherry_protocol.reload")
    system = Lazy("wherry_protocol.system")


class AsyncSystemVerbs(AsyncVerbsBase):
    """One method per verb about the supervisor."""

    async def ping(self) -> Pong:
        """Ask whether the supervisor answers."""
        return await self.call(system.Ping())

    async def version(self) -> VersionInfo:
        """Return the supervisor's versions."""
        return await self.call(system.Version())

    async def info(self) -> SystemInfo:
        """Return the supervisor's directories, host facts and counts."""
        return await self.call(system.Info())

    async def reload(self) -> Reloaded:
        """Have the supervisor read its settings again, as SIGHUP does; return what changed.

        Raises BadRequest, and nothing has changed, when the file or a value in it cannot be.
        """
        return await self.call(reload.Reload())
