"""Times as requests give them. Pure."""

from __future__ import annotations

import math

from wherry_protocol.errors import BadRequest


def nanoseconds(seconds: float | None) -> int | None:
    """Return seconds since the epoch as nanoseconds. Raises BadRequest for what is no number."""
    if seconds is None:
        return None
    if not math.isfinite(seconds):
        raise BadRequest(f"time {seconds} is no number of seconds")
    # A float holds the present to a quarter of a microsecond: more digits would be noise.
    return round(seconds * 1e6) * 1000
