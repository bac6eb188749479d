"""What a container may do next: states x events in one table, no IO.

`starting` and `removing` last for a moment inside one request; what people see of them is the state before
(see `shown`).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict

if TYPE_CHECKING:
    from wherry_protocol.container_state import State


class Phase(Enum):
    """Where a container is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"


class Event(Enum):
    """What can happen to it; the value completes "cannot be …"."""

    START = "started"
    EXECUTING = "reported as executing"
    FAILED = "reported as failed to start"
    PAUSE = "paused"
    UNPAUSE = "unpaused"
    EXIT = "reported as ended"
    BACK_OFF = "restarted later"
    REMOVE = "removed"


_TABLE: dict[tuple[Phase, Event], Phase] = {
    (Phase.CREATED, Event.START): Phase.STARTING,
    (Phase.CREATED, Event.REMOVE): Phase.REMOVING,
    (Phase.STARTING, Event.EXECUTING): Phase.RUNNING,
    (Phase.STARTING, Event.FAILED): Phase.CREATED,
    (Phase.RUNNING, Event.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Event.EXIT): Phase.EXITED,
    (Phase.PAUSED, Event.UNPAUSE): Phase.RUNNING,
    (Phase.PAUSED, Event.EXIT): Phase.EXITED,
    (Phase.EXITED, Event.START): Phase.STARTING,
    (Phase.EXITED, Event.BACK_OFF): Phase.RESTARTING,
    (Phase.EXITED, Event.REMOVE): Phase.REMOVING,
    (Phase.RESTARTING, Event.START): Phase.STARTING,
    (Phase.RESTARTING, Event.EXIT): Phase.EXITED,
}

_HINTS: dict[tuple[Phase, Event], str] = {
    (Phase.RUNNING, Event.REMOVE): "stop it first, or use rm -f",
    (Phase.PAUSED, Event.REMOVE): "stop it first, or use rm -f",
    (Phase.PAUSED, Event.START): "use unpause",
    (Phase.RESTARTING, Event.REMOVE): "stop it first, or use rm -f",
    (Phase.RESTARTING, Event.PAUSE): "wait until it runs",
}


def after(phase: Phase, event: Event, name: str) -> Phase:
    """Return the phase that follows. Raises Conflict naming container, state and event when none does."""
    found = _TABLE.get((phase, event))
    if found is None:
        raise Conflict(
            f"container {name} is {phase.value}: it cannot be {event.value}", hint=_HINTS.get((phase, event))
        )
    return found


def shown(phase: Phase, *, ended_before: bool, again: bool = False) -> State:
    """Return the state that people see; `again`: its restart policy starts it."""
    if phase is Phase.STARTING and again:
        return "restarting"
    if phase in (Phase.STARTING, Phase.REMOVING):
        return "exited" if ended_before else "created"
    state: State = phase.value
    return state
