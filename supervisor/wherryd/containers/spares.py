"""Container directories made ahead: eight inodes cost a start more than anything else that we do for it.

A few wait in the spare directory; taking one is a rename. They are made while the event loop has nothing else
to do, which is what a start does most of its time: it waits for the launcher.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.containers import files
from wherryd.logs.log import Log

if TYPE_CHECKING:
    from pathlib import Path

READY = 4
"""How many wait: as many as start at once on a small machine."""


class Spares:
    """The spare directory. `run` is its task; `directory` is empty when it starts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready: list[str] = []
        self._work = trio.Event()
        self._work.set()

    def take(self, target: str) -> bool:
        """Put a ready directory at `target`; False when none is ready. Raises OSError."""
        self._work.set()
        if not self._ready:
            return False
        os.rename(self._ready.pop(), target)
        return True

    async def run(self) -> None:
        """Make what is missing, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while len(self._ready) < READY:
                await trio.lowlevel.checkpoint()
                if not self._make():
                    break

    def _make(self) -> bool:
        path = self._directory / f"spare-{secrets.token_hex(8)}"
        try:
            files.make(str(path))
            Log.open(path)
        except OSError as error:
            # A start makes its own and says what is wrong.
            journal.debug("no spare directory", error=error)
            return False
        self._ready.append(str(path))
        return True
