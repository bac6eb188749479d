"""Which execs there are: those that run, and how the last few hundred ended. No IO."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from wherry_protocol.errors import NotFound

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherryd.processes.session import Session

REMEMBERED = 512
"""Exits that are kept for who asks late, as clients do whose supervisor was restarted."""


class Known:
    """`asked` are the ids of those whose start has no answer yet."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.running: dict[str, Session] = {}
        self._exits: OrderedDict[str, ExitStatus] = OrderedDict()

    def __contains__(self, exec_id: str) -> bool:
        return exec_id in self.running or exec_id in self._exits or exec_id in self.asked

    def find(self, exec_id: str) -> Session:
        """Return one that runs. Raises NotFound."""
        session = self.running.get(exec_id)
        if session is None:
            raise NotFound(f"no exec {exec_id[:64]!r} runs")
        return session

    def exit_of(self, exec_id: str) -> ExitStatus:
        """Return how one ended. Raises NotFound."""
        status = self._exits.get(exec_id)
        if status is None:
            raise NotFound(f"no exec {exec_id[:64]!r}", hint="only the last few hundred ends are remembered")
        return status

    def begun(self, session: Session) -> None:
        """Take note that one has a process."""
        self.asked.discard(session.id)
        self.running[session.id] = session

    def forget(self, exec_id: str) -> None:
        """Take note that one came to nothing, or is left to the next supervisor."""
        self.asked.discard(exec_id)
        self.running.pop(exec_id, None)

    def ended(self, exec_id: str, status: ExitStatus) -> None:
        """Take note that one has ended."""
        self.running.pop(exec_id, None)
        self._exits[exec_id] = status
        if len(self._exits) > REMEMBERED:
            self._exits.popitem(last=False)
