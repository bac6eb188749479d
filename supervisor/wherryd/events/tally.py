"""How often things happened since this supervisor's start, for who collects metrics. Counts, nothing else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus

OUTCOMES = ("success", "failure", "signal", "oom", "unknown")
SCOPES = ("child", "init", "group", "unknown")


class Tally:
    """`events` by type and action, `exits` of containers by OUTCOMES, `oom_kills` by SCOPES."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.exits: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.oom_kills: Counter[str] = Counter(dict.fromkeys(SCOPES, 0))

    def event(self, kind: str, action: str) -> None:
        """Count an event; what follows an action's colon is its details."""
        self.events[kind, action.partition(":")[0]] += 1

    def exit(self, status: ExitStatus) -> None:
        """Count the end of a container."""
        self.exits[_outcome(status)] += 1


def _outcome(status: ExitStatus) -> str:
    if status.exit_code is None:
        return "unknown"
    if status.ok:
        return "success"
    if status.oom_killed and status.oom_victim != "child":
        return "oom"
    return "failure" if status.signal is None else "signal"
