"""The short form of tests that repeat themselves, for every run; the long one when WHERRY_LONG is set."""

from __future__ import annotations

import os

LONG = bool(os.environ.get("WHERRY_LONG"))


def rounds(*, short: int, long: int) -> int:
    """Return how many times to try."""
    return long if LONG else short
