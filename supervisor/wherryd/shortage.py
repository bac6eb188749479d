"""What the supervisor does when it has no descriptor, process or memory left: it says so, or waits.

A request that cannot be carried out is refused in one line. What must be done all the same, as to look how a
container ended, is tried again until it can be: nothing is guessed, nothing is given up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import trio

from wherry_protocol.errors import Busy
from wherryd import journal, no_memory
from wherryd.kernel.shortage import DESCRIPTORS, MEMORY, shortage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

RETRY = 0.25
"""Seconds between two tries of what must be done."""


def refusal(what: str, error: BaseException) -> Busy | None:
    """Return what to answer to a request that failed for want of something; None when it was not that."""
    number = shortage(error)
    if number is None:
        return None
    if number in DESCRIPTORS:
        lack, hint = "file descriptor", "raise its LimitNOFILE, see 'ulimit -n' and fs.file-max"
    elif number in MEMORY:
        lack, hint = "memory", "raise its MemoryMax, see 'ulimit -v', or free some"
    else:
        lack, hint = "process", "raise its TasksMax, see pids.max and 'ulimit -u'"
    return Busy(f"{what}: the supervisor has no {lack} left: {os.strerror(number)}", hint=hint, errno=number)


async def until_there_is_some(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Do something that must be done, again and again while there is no descriptor, process or memory."""
    told = False
    while True:
        try:
            return await call()
        except Exception as error:
            no_memory.ends_us(error)
            if shortage(error) is None:
                raise
            if not told:
                journal.error("short of something, trying again", what=what, error=error)
            told = True
        await trio.sleep(RETRY)
