"""The forms of tests: short for every run, long by hand (WHERRY_LONG); and how long slow machines may take.

An emulated one (vagrant/vm) says in WHERRY_SLOWNESS how many times longer everything may take there.
"""

from __future__ import annotations

import os

LONG = bool(os.environ.get("WHERRY_LONG"))
CPUS = len(os.sched_getaffinity(0))
SLOWNESS = float(os.environ.get("WHERRY_SLOWNESS", "1"))


def rounds(*, short: int, long: int) -> int:
    """Return how many times to try."""
    return long if LONG else short


def within(seconds: float) -> float:
    """Return the time that something may take here which takes no more than `seconds` on a real machine."""
    return seconds * SLOWNESS
