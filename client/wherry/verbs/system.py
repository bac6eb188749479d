# Made from async_verbs/system.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about the supervisor itself."""

from __future__ import annotations

from wherry.verbs.base import VerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol import reload, system
    from wherry_protocol.reload import Reloaded
    from wherry_protocol.system import Pong, SystemInfo, VersionInfo
else:
    reload = Lazy("wherry_protocol.reload")
    system = Lazy("wherry_protocol.system")


class SystemVerbs(VerbsBase):
    """One method per verb about the supervisor."""

    def ping(self) -> Pong:
        """Ask whether the supervisor answers."""
        return self.call(system.Ping())

    def version(self) -> VersionInfo:
        """Return the supervisor's versions."""
        return self.call(system.Version())

    def info(self) -> SystemInfo:
        """Return the supervisor's directories, host facts and counts."""
        return self.call(system.Info())

    def reload(self) -> Reloaded:
        """Have the supervisor read its settings again, as SIGHUP does; return what changed.

        Raises BadRequest, and nothing has changed, when the file or a value in it cannot be.
        """
        return self.call(reload.Reload())
