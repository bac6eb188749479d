"""What an end has to do with OOM kills: said when it can be known, and only then."""

from __future__ import annotations

import pytest

from wherryd.containers.oom_verdict import OomState, verdict
from wherryd.kernel.oom import Kills
from wherryd.launcher.outcome import Exit

KILL, TERM, DONE, LOST = Exit(signal=9), Exit(signal=15), Exit(code=137), Exit()


def state(told: int = 0, *, groups: int = 0, ours: bool = False, unseen: bool = False) -> OomState:
    made = OomState()
    if told:
        kills = Kills(oom_kill=told, oom_group_kill=groups)
        made.take(kills, made.scope(kills))
    made.ours, made.unseen = ours, unseen
    return made


@pytest.mark.parametrize(
    ("ended", "kills", "before", "says"),
    [
        (DONE, Kills(), state(), (False, 0, None, 0)),
        (KILL, Kills(), state(), (False, 0, None, 0)),
        (KILL, Kills(oom_kill=1), state(), (True, 1, "init", 1)),
        (KILL, Kills(oom_kill=3), state(2), (True, 3, "init", 1)),
        (KILL, Kills(oom_kill=2), state(2), (True, 2, "child", 0)),
        (KILL, Kills(oom_kill=2), state(2, ours=True), (True, 2, "child", 0)),
        (KILL, Kills(oom_kill=3), state(2, ours=True), (True, 3, None, 1)),
        (KILL, Kills(oom_kill=1), state(unseen=True), (True, 1, None, 1)),
        (DONE, Kills(oom_kill=1), state(unseen=True), (True, 1, "child", 1)),
        (DONE, Kills(oom_kill=2), state(), (True, 2, "child", 2)),
        (LOST, Kills(oom_kill=2), state(1), (True, 2, None, 1)),
        (LOST, Kills(oom_kill=1), state(1), (True, 1, "child", 0)),
        (TERM, Kills(oom_kill=2), state(1), (True, 2, "child", 1)),
        (KILL, Kills(oom_kill=4, oom_group_kill=1), state(), (True, 4, "group", 4)),
        (KILL, Kills(oom_kill=4, oom_group_kill=1), state(ours=True, unseen=True), (True, 4, "group", 4)),
        (KILL, Kills(oom_kill=5, oom_group_kill=1), state(4, groups=1), (True, 5, "init", 1)),
        (DONE, Kills(oom_kill=4, oom_group_kill=1), state(4, groups=1), (True, 4, "group", 0)),
    ],
)
def test_an_end_says_what_can_be_known(
    ended: Exit, kills: Kills, before: OomState, says: tuple[object, ...]
) -> None:
    assert verdict(ended, kills, before) == says


def test_where_the_kernel_does_not_count_nobody_guesses() -> None:
    assert verdict(KILL, None, state()) == (None, None, None, 0)


def test_one_kill_is_not_blamed_on_two() -> None:
    """Nor on the first process that somebody kills after an exec that was eaten."""
    one, seen = Kills(oom_kill=1), state()
    assert seen.blame(one, dying=False)
    assert not seen.blame(one, dying=False)
    assert seen.blame(one, dying=True), "it was seen to die of it"
    assert verdict(KILL, one, seen) == (True, 1, "child", 1)
    assert seen.blame(Kills(oom_kill=2), dying=False)
