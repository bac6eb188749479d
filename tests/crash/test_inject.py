"""SIGKILL at every system call of a run, an exec, a stop and a removal, whoever of ours makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.forms import rounds
from walkkit import Round

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

SHARE = rounds(short=200, long=1)
"""Of so many calls one is struck."""

IDLE = {"epoll_wait", "futex", "restart_syscall"}
"""Calls that come by chance: how often a thread waits is nobody's promise."""


@pytest.mark.alone
@pytest.mark.timeout(7200)
def test_whoever_dies_at_a_system_call_leaves_a_state_that_a_successor_understands(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """A sample of the calls; every one of them with WHERRY_LONG=1."""
    one, struck, missed = Round(fresh_wherryd, busybox), 0, 0
    for role, calls in one.calls(("supervisor", "launcher", "worker"), tmp_path / "calls").items():
        points = [(call, n) for call in sorted(calls.keys() - IDLE) for n in range(1, calls[call] + 1)]
        for call, number in points[SHARE // 2 :: SHARE]:
            try:
                died = one.strike(role, call, number)
                one.make_good(died=died and role == "supervisor")
            except BaseException as error:
                error.add_note(f"{role} killed at {call} number {number}")
                raise
            struck, missed = struck + died, missed + (not died)
    print(f"{struck} killed, {missed} calls that did not come again")
    assert struck, "the lives are too unlike for this to show anything"
