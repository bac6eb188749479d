"""Times as programs read them: RFC 3339 in UTC. Must never read a clock."""

from __future__ import annotations

import time

NEVER = "0001-01-01T00:00:00Z"
"""What docker says of a time that has not come."""

_NANO = 1_000_000_000


def rfc3339_seconds(seconds: float | None) -> str:
    """Return a time in seconds since the epoch as RFC 3339 in UTC; NEVER for None."""
    return NEVER if seconds is None else rfc3339(int(seconds * _NANO))


def rfc3339(nanoseconds: int) -> str:
    """Return a time in nanoseconds since the epoch as RFC 3339 in UTC, with nine digits."""
    seconds, fraction = divmod(nanoseconds, _NANO)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"
