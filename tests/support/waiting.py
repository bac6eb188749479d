"""Waiting for what comes soon, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.forms import within

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = within(20.0)
"""Seconds: what takes a millisecond takes seconds on a machine with other things to do."""

PAUSE = 0.01


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Return True as soon as a condition holds; False when it never did."""
    deadline = time.monotonic() + seconds
    while not (so := bool(condition())) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return so
