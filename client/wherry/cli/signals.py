"""Signals as bytes in a pipe, so that a poll loop takes them one at a time.

Owns the handlers while it is entered, and puts the old ones back.
"""

from __future__ import annotations

import os
import signal
import time

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""What a command without a terminal gets from us."""

ON_TERMINAL = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH, signal.SIGCONT)
"""What concerns us when the command has a terminal: its own signals are keys there."""

_IMPATIENT = 3
"""Interrupts within a second that mean: let me go."""


class Impatience:
    """Counts interrupts."""

    def __init__(self) -> None:
        self._interrupts: list[float] = []

    def grows(self) -> bool:
        """Count one more; say whether the user has had enough."""
        now = time.monotonic()
        self._interrupts = [at for at in self._interrupts if now - at < 1] + [now]
        return len(self._interrupts) >= _IMPATIENT


class SignalPipe:
    """Readable when one of the signals has come; a signal that was ignored stays ignored."""

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = [*signals]
        self._old: dict[int, Any] = {}
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, _taken)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._reader

    def take(self) -> list[int]:
        """Return the numbers of the signals that have come."""
        try:
            return [*os.read(self._reader, 4096)]
        except BlockingIOError:
            return []


def _taken(_number: int, _frame: object) -> None:
    """The wake-up pipe has it."""
