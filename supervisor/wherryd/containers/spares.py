"""Container directories made ahead: eight inodes cost a start more than anything else that we do for it.

A few wait in the spare directory; taking one is a rename. They are made while the event loop has nothing else
to do, which is what a start does most of its time: it waits for the launcher.

One of them can be promised to the next container of an image that was run twice in a row: a worker makes its
root meanwhile. What that leaves in it belongs to that image, as it was then: no other gets the directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.containers import files
from wherryd.containers.files import Taken
from wherryd.containers.ground import Ground
from wherryd.logs.log import Log

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.containers.config import Config

READY = 4
"""How many wait: as many as start at once on a small machine."""


class Spares:
    """The spare directory. `run` is its task; `directory` is empty when it starts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready: list[str] = []
        self._last: Ground | None = None
        self._promised: tuple[Ground, str] | None = None
        self._spoiled: list[str] = []
        self._late: list[str] = []
        self._work = trio.Event()
        self._work.set()

    def take(self, target: str, config: Config) -> Taken:
        """Put a directory at `target`, a ready one if there is one.

        Raises OSError; ImageError when the image's directory is gone.
        """
        ground = Ground.of(config)
        self._work.set()
        former = self._fulfil(ground)
        spare = former or (self._ready.pop() if self._ready else None)
        if spare is None:
            files.make(target)
        else:
            os.rename(spare, target)
        if former is None:
            ground.prepare(target)
        return Taken(log_ready=spare is not None, former=former, successor=self._promise(ground))

    def _fulfil(self, ground: Ground) -> str | None:
        if self._promised is None or self._promised[0] != ground:
            return None
        spare = self._promised[1]
        self._promised = None
        return spare

    def _promise(self, ground: Ground) -> str | None:
        """Promise a directory to the next container on this ground, if the last one was on it, too."""
        again, self._last = ground == self._last, ground
        if not (again and ground.settled and self._ready):
            return None
        if self._promised is not None:
            self._spoiled.append(self._promised[1])
        spare = self._ready.pop()
        try:
            ground.prepare(spare)
        except OSError as error:
            # The next container's trouble, if it has the same, and none of this one's.
            journal.debug("no directory promised", error=error)
            self._spoiled.append(spare)
            self._promised = None
            return None
        self._promised = ground, spare
        return spare

    async def run(self) -> None:
        """Make what is missing, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            self._spoiled += self._late
            self._late.clear()
            while self._spoiled:
                await trio.lowlevel.checkpoint()
                self._remove(self._spoiled.pop())
            while len(self._ready) < READY:
                await trio.lowlevel.checkpoint()
                if not self._make():
                    break

    def _remove(self, spare: str) -> None:
        try:
            shutil.rmtree(spare)
        except OSError as error:
            # A worker was at it: by the next time it has found that nobody wants it.
            journal.debug("spoiled directory stays", error=error)
            self._late.append(spare)

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
