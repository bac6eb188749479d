"""Who asked for an exec, as its keeper sees them: told of start, failure and end, each once at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.errors import WherryError
    from wherryd.processes.session import Session


class Caller:
    """Somebody who does not listen; others say what they do. None of it may wait for anything."""

    def started(self, session: Session) -> None:
        """The command executes."""

    def lasts(self) -> None:
        """It is none of those that end in a moment, or starts slowly."""

    def failed(self, error: WherryError) -> None:
        """It could not be started."""

    def ended(self, status: ExitStatus, *, told: bool) -> None:
        """It has ended; `told`: the caller knows how from the launcher."""
