"""Waits for more than the end of a run that goes on now: for the next end to come, for a removal.

Each names what it is not to be answered with, so that it can be asked again of another supervisor: what
happened while nobody answered still counts, and nothing counts twice.
"""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.container_state import ExitStatus


class WaitNextExit(Call[ExitStatus]):
    """Answered when a run has ended that began after the time `after`: how it did.

    `after` is the `started_at` of the last run, if that is over; None when there was none, or it goes on and
    its end is meant. Refused (not_found) when the container is removed before that.
    """

    op = "wait_next_exit"
    answer = ExitStatus
    repeatable = True
    ref: str
    after: float | None = None


class WaitRemoved(Call[ExitStatus]):
    """Answered when there is no container of this (whole) id any more: how its last run ended."""

    op = "wait_removed"
    answer = ExitStatus
    repeatable = True
    container_id: str
