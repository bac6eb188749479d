"""What a MemoryError means in the supervisor: its end, at once, as if it had been killed.

Python raises one wherever it wants a few bytes: between any two steps of ours, and of the event loop's, which
may then wait for ever for a task that was begun by half, or never wake one. What was done could not be told
from what was not. But after a SIGKILL at any instant a successor finds all exact: the containers go on, their
output waits in the pipes, the launcher knows every exit. So nobody goes on with half a state, and nobody
tries again for ever. Whoever catches whatever exception there may be asks `ends_us` first.

Not so:
    a request that is being read        nothing has come of it: it is refused (control/session.py)
    the kernel's ENOMEM, or no thread   a step that failed as a whole: refused, or tried again (shortage.py)
    the launcher                        it has what nobody else has: see launcher/loop.py
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, cast

from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = 1
_LAST_WORDS = b'level=error event="no memory left: the supervisor ends at once, its containers go on"\n'
_STDERR = 2


def guard_threads() -> None:
    """Have what ends a thread, or what nobody could catch, end us too if it is for want of memory."""
    threading.excepthook = _on_thread
    sys.unraisablehook = _on_unraisable


def ends_us(error: BaseException | None) -> None:
    """Do not return, if something failed for want of memory, or while that was dealt with."""
    if error is not None and _is_lack(error):
        end()


def end() -> NoReturn:
    """End at once."""
    try:
        journal.error("no memory left: the supervisor ends at once, its containers go on")
    except MemoryError:
        os.write(_STDERR, _LAST_WORDS)
    finally:
        os._exit(_STATUS)


def _is_lack(error: BaseException) -> bool:
    try:
        return any(isinstance(each, MemoryError) for each in _all_of(error, 0))
    except MemoryError:
        return True


_DEEP = 20
"""Causes of causes that are looked at."""


def _all_of(error: BaseException, depth: int) -> Iterator[BaseException]:
    """Yield an exception, what it groups, and what it came from."""
    yield error
    if depth == _DEEP:
        return
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _all_of(each, depth + 1)
    for origin in (error.__cause__, error.__context__):
        if origin is not None:
            yield from _all_of(origin, depth + 1)


def _on_thread(hooked: threading.ExceptHookArgs) -> None:
    ends_us(hooked.exc_value)
    if hooked.exc_value is not None:
        journal.defect("a thread failed", hooked.exc_value)


def _on_unraisable(hooked: sys.UnraisableHookArgs) -> None:
    ends_us(hooked.exc_value)
    sys.__unraisablehook__(hooked)
