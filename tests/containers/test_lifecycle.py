"""The table of states and events."""

from __future__ import annotations

import itertools

import pytest

from wherry_protocol.errors import Conflict
from wherryd.containers.lifecycle import Event, Phase, after, shown

LEGAL = {
    (Phase.CREATED, Event.START), (Phase.CREATED, Event.REMOVE),
    (Phase.STARTING, Event.EXECUTING), (Phase.STARTING, Event.FAILED),
    (Phase.RUNNING, Event.PAUSE), (Phase.RUNNING, Event.EXIT),
    (Phase.PAUSED, Event.UNPAUSE), (Phase.PAUSED, Event.EXIT),
    (Phase.EXITED, Event.START), (Phase.EXITED, Event.BACK_OFF), (Phase.EXITED, Event.REMOVE),
    (Phase.RESTARTING, Event.START), (Phase.RESTARTING, Event.EXIT),
}  # fmt: skip


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_every_pair_is_a_move_or_a_conflict_that_names_both(phase: Phase, event: Event) -> None:
    """An illegal move says which container, which state, which event."""
    if (phase, event) in LEGAL:
        assert isinstance(after(phase, event, "web"), Phase)
        return
    with pytest.raises(Conflict) as caught:
        after(phase, event, "web")
    assert f"container web is {phase.value}" in str(caught.value)
    assert event.value in str(caught.value)


def test_a_removal_under_way_cannot_be_left() -> None:
    """Nothing comes after removing."""
    assert not [event for phase, event in LEGAL if phase is Phase.REMOVING]


def test_momentary_phases_are_shown_as_the_state_before() -> None:
    """People see docker's states only."""
    assert shown(Phase.STARTING, ended_before=False) == "created"
    assert shown(Phase.STARTING, ended_before=True) == "exited"
    assert {shown(phase, ended_before=True) for phase in Phase} <= {
        "created", "running", "paused", "restarting", "exited",
    }  # fmt: skip
