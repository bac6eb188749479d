"""A line on a terminal that says how far a long step is.

Owns the line and its removal; must never write to anything but a terminal.
"""

from __future__ import annotations

import sys
import time

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from wherry_protocol.system import Progress

_MIB = 1 << 20
_WIDTH = 24
_EVERY = 0.1
"""Seconds between two drawings."""


class ProgressBar:
    """Shows progress on standard error while it is entered."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._since = time.monotonic()
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.clear()

    def show(self, progress: Progress) -> None:
        """Draw how far it is, at most ten times a second."""
        now = time.monotonic()
        if self._on and now - self._drawn_at >= _EVERY:
            self._drawn_at = now
            self._write("\r" + progress_line(progress, now - self._since) + "\x1b[K")

    def clear(self) -> None:
        """Remove the line."""
        if self._drawn_at:
            self._drawn_at = 0.0
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def progress_line(progress: Progress, elapsed: float) -> str:
    """Return "extracting [####    ]  45%  12.3/27.0 MiB  85.2 MiB/s"."""
    done, total = progress.done / _MIB, progress.total / _MIB
    rate = f"{done / elapsed:.1f} MiB/s" if elapsed > 0 else ""
    if not progress.total:
        return f"{progress.phase}  {done:.1f} MiB  {rate}"
    share = min(1.0, progress.done / progress.total)
    bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH)
    return f"{progress.phase} [{bar}] {share:4.0%}  {done:.1f}/{total:.1f} MiB  {rate}"
