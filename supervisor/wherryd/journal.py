"""The supervisor's own log: one line an event, `key=value` fields, to stderr.

    time=2026-11-24T08:20:11.123Z level=info event="container started" id=3f2a… name=web pid=4242

Owns the format. Callers give the event's name and its facts: `log.info("container started", id=…, name=…)`.
"""

from __future__ import annotations

import os
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"

_STDERR = 2
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:+,@%")

_debug = False


def setup(*, debug: bool) -> None:
    """Say whether `debug` lines are written."""
    global _debug  # noqa: PLW0603 - one process, one log
    _debug = debug


def debugging() -> bool:
    """Say whether `debug` lines are written, for facts that cost something to find."""
    return _debug


def write(level: str, event: str, facts: Mapping[str, object]) -> None:
    """Write a line, in one call, so that lines of several processes do not mix."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    fields = "".join([f" {key}={quoted(value)}" for key, value in facts.items()])
    line = f"time={stamp}.{int(now % 1 * 1000):03d}Z level={level} event={quoted(event)}{fields}\n"
    with suppress(OSError):
        # Nobody reads it any more, or its disk is full: there is no other place to tell that.
        os.write(_STDERR, line.encode(errors="replace"))


def quoted(value: object) -> str:
    """Return a value as one word: bare, or quoted with escapes, so that no text forges a line."""
    text = str(value)
    if text and _BARE.issuperset(text):
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def debug(event: str, **facts: object) -> None:
    """Tell what helps to find a defect."""
    if _debug:
        write(DEBUG, event, facts)


def info(event: str, **facts: object) -> None:
    """Tell what an operator wants to see."""
    write(INFO, event, facts)


def warning(event: str, **facts: object) -> None:
    """Tell what is not as it should be but was dealt with."""
    write(WARNING, event, facts)


def error(event: str, **facts: object) -> None:
    """Tell what could not be dealt with."""
    write(ERROR, event, facts)


def defect(event: str, exc: BaseException, **facts: object) -> None:
    """Tell of an exception that nobody expected, with its traceback."""
    write(ERROR, event, {**facts, "traceback": "".join(traceback.format_exception(exc))})
