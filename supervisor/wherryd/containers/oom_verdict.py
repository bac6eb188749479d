"""Who was killed for want of memory, as far as it can be known. Pure.

The kernel counts its kills and names no victim. So this is what is said, and how it is known:

- whether, and how many: always, and exactly; the count is read after the end, before its group is removed.
- a killed child: the count has moved, and the first process is not dying. That is looked at some 20 ms after
  the kernel told of it, when a victim has long got its signal, and it is told at once.
- the first process ("init"): it ended by a SIGKILL that was not ours, and there are kills that were not told
  as a child's. Somebody else's SIGKILL within these 20 ms after a child's kill looks the same.
- an exec's first process: it ended by a SIGKILL that was not ours, and there are kills that are neither told
  nor another exec's already: one kill is not blamed on two.
- everything at once ("group"): the kernel counts kills of whole groups (memory.oom.group).
- else the victim is unknown: a SIGKILL of ours came, too, or no supervisor was there to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wherry_protocol.container_state import OomVictim
    from wherryd.kernel.oom import Kills
    from wherryd.launcher.outcome import Exit

_SIGKILL = 9


class Suspect:
    """A process that may be the victim: the first one of an exec. `dying`: it was when a kill was counted."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.dying = False


class OomState:
    """What is known of the kills of a container's present or last run.

    `told` were told while it went on, the last of them with the scope `victim`; `fresh` are to be told with
    its end. Up to the number `blamed` they are known as those of execs. `ours`: we sent its first process
    a SIGKILL. `unseen`: it ended while no supervisor was there.
    """

    def __init__(self, told: int = 0, groups_told: int = 0, victim: OomVictim | None = None) -> None:
        self.told = told
        self.groups_told = groups_told
        self.victim: OomVictim | None = victim
        self.fresh = 0
        self.blamed = 0
        self.ours = False
        self.unseen = False
        self.suspects: set[Suspect] = set()

    def to_json(self) -> list[Any]:
        """Return what the next supervisor has to know."""
        return [self.told, self.groups_told, self.victim]

    def blame(self, kills: Kills, *, dying: bool) -> bool:
        """Say whether an exec that a SIGKILL ended is the victim of these; `dying`: it was seen to be."""
        if not dying and kills.oom_kill <= max(self.told, self.blamed):
            return False
        self.blamed = kills.oom_kill
        return True

    def scope(self, kills: Kills) -> OomVictim:
        """Return the scope of kills after which the first process goes on, or ended otherwise."""
        return "group" if kills.oom_group_kill > self.groups_told else "child"

    def take(self, kills: Kills, scope: OomVictim) -> None:
        """Take note that these were told."""
        self.told, self.groups_told, self.victim = kills.oom_kill, kills.oom_group_kill, scope


class Verdict(NamedTuple):
    """What OOM kills had to do with an end. `fresh` are those that were not told before."""

    oom_killed: bool | None
    oom_kills: int | None
    oom_victim: OomVictim | None
    fresh: int = 0


def verdict(ended: Exit, kills: Kills | None, state: OomState) -> Verdict:
    """Say what the last counts mean for an end."""
    if kills is None:
        return Verdict(None, None, None)
    fresh = kills.oom_kill - state.told
    victim: OomVictim | None = _victim(ended, kills, state) if fresh > 0 else state.victim
    return Verdict(kills.oom_kill > 0, kills.oom_kill, victim, max(fresh, 0))


def _victim(ended: Exit, kills: Kills, state: OomState) -> OomVictim | None:
    scope, known = state.scope(kills), ended.code is not None or ended.signal is not None
    if scope == "group" or (known and ended.signal != _SIGKILL) or kills.oom_kill <= state.blamed:
        return scope
    return "init" if known and not state.ours and not state.unseen else None
