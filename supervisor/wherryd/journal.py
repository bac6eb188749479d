"""The supervisor's own log: one line an event, `key=value` fields, to stderr.

    time=2026-11-24T08:20:11.123Z level=info event="container started" id=3f2a… name=web pid=4242

Owns the format. Callers give the event's name and its facts: `log.info("container started", id=…, name=…)`.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

_LOGGER = logging.getLogger("wherryd")
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:+,@%")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        facts: dict[str, Any] = getattr(record, "facts", {})
        fields = [
            f"time={stamp}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"event={quoted(record.getMessage())}",
            *(f"{key}={quoted(value)}" for key, value in facts.items()),
        ]
        if record.exc_info:
            fields.append(f"traceback={quoted(self.formatException(record.exc_info))}")
        return " ".join(fields)


def quoted(value: object) -> str:
    """Return a value as one word: bare, or quoted with escapes, so that no text forges a line."""
    text = str(value)
    if text and _BARE.issuperset(text):
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def setup(*, debug: bool) -> None:
    """Send the log to stderr, from `info` on, or from `debug` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    _LOGGER.propagate = False
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def debugging() -> bool:
    """Say whether `debug` lines are written, for facts that cost something to find."""
    return _LOGGER.isEnabledFor(logging.DEBUG)


def debug(event: str, **facts: object) -> None:
    """Tell what helps to find a defect."""
    if debugging():
        _LOGGER.debug(event, extra={"facts": facts})


def info(event: str, **facts: object) -> None:
    """Tell what an operator wants to see."""
    _LOGGER.info(event, extra={"facts": facts})


def warning(event: str, **facts: object) -> None:
    """Tell what is not as it should be but was dealt with."""
    _LOGGER.warning(event, extra={"facts": facts})


def error(event: str, **facts: object) -> None:
    """Tell what could not be dealt with."""
    _LOGGER.error(event, extra={"facts": facts})


def defect(event: str, exc: BaseException, **facts: object) -> None:
    """Tell of an exception that nobody expected, with its traceback."""
    _LOGGER.error(event, exc_info=exc, extra={"facts": facts})
