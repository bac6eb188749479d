"""What images, containers and volumes take on disk.

Owns the asking: a process counts (measure.py), so that neither a million files nor a file system that does
not answer keeps the supervisor from anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import KernelFailure
from wherryd import helper, journal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MEASURE_SECONDS = 60.0
"""For everything; what is not counted then is unknown."""

_GRACE = 5.0
"""Seconds more for the answer."""

_one_at_a_time = trio.Semaphore(1)
"""Counting is disk and processor: two would take twice as long each."""


async def sizes(places: Mapping[str, Path]) -> dict[str, int | None]:
    """Return the bytes on disk of directories, by key; None where they could not be counted in time."""
    if not places:
        return {}
    question = {"seconds": MEASURE_SECONDS, "places": {key: str(path) for key, path in places.items()}}
    async with _one_at_a_time:
        try:
            answer = await helper.ask(
                "wherryd.housekeeping.measure",
                question,
                what="counting what takes room",
                timeout=MEASURE_SECONDS + _GRACE,
            )
        except KernelFailure as error:
            journal.warning("sizes not counted", error=error)
            return dict.fromkeys(places)
    found: dict[str, int | None] = answer["sizes"]
    return found
