"""The end of one run, for whoever waits for it: also for those who look after the next one has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus


class Over:
    """Given once, by whoever records the end.

    `status` is how the run ended; when it never `began`, as its start failed or its container was removed,
    the end of the one before it, None if there was none. `log_end` is where its output ends in the log, None
    as long as some may come.
    """

    __slots__ = ("_event", "began", "log_end", "status")

    def __init__(self) -> None:
        self._event = trio.Event()
        self.status: ExitStatus | None = None
        self.began = True
        self.log_end: int | None = None

    def set(self, status: ExitStatus | None) -> None:
        """Say that it has ended; the first to say so knows it best."""
        if not self._event.is_set():
            self.status = status
            self._event.set()

    def call_off(self, status: ExitStatus | None) -> None:
        """Say that the run has not begun, and is not to; `status` is the last end that there was."""
        if not self._event.is_set():
            self.began = False
            self.set(status)

    def is_set(self) -> bool:
        """Say whether it has ended."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._event.wait()
