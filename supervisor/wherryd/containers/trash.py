"""Deletes what was removed, off the event loop.

A removal is a rename into the trash directory: at once, and either done or not. The deletion follows, for
many at once, by rm(1): a thread of ours would take the interpreter's lock from the event loop a hundred
times a container. What a crash leaves is deleted at the next start.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.kernel import failpoints
from wherryd.shortage import until_there_is_some

if TYPE_CHECKING:
    from pathlib import Path


GATHER_SECONDS = 0.25
"""How long a removed directory waits for company: one process deletes them all."""

RETRY = 1.0
LONGEST_RETRY = 600.0
"""Seconds before the next try when a disk refused one; each that follows waits twice as long."""

ARGUMENTS = 500
"""Directories for one rm(1): some 75 KiB of arguments."""


class Trash:
    """The trash directory. `run` is its task."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._late: list[Path] = []
        self._pause = 0.0
        self._work = trio.Event()
        self._work.set()

    def take(self, path: Path, name: str | None = None) -> None:
        """Move a directory out of sight, under a name of its own; nothing happens when it is not there."""
        try:
            path.rename(self._directory / (name or path.name))
        except FileNotFoundError:
            return
        self._work.set()

    def take_soon(self, path: Path) -> None:
        """Do the same, later if the disk refuses it now; nobody else may have use for that path."""
        try:
            self.take(path)
        except OSError as error:
            journal.warning("removed container's directory stays for now", path=path, error=error)
            self._late.append(path)
            self._work.set()

    async def run(self) -> None:
        """Delete what arrives, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await trio.sleep(GATHER_SECONDS)
            failpoints.hit("trash.empty")
            late, self._late = self._late, []
            for path in late:
                self.take_soon(path)
            done = await until_there_is_some("the trash", self._empty) and not self._late
            self._pause = 0.0 if done else min(self._pause * 2 or RETRY, LONGEST_RETRY)
            if not done:
                await trio.sleep(self._pause)
                self._work.set()

    async def _empty(self) -> bool:
        """Delete everything; say whether that could be done."""
        empty = True
        paths = [entry.path for entry in os.scandir(self._directory)]
        for first in range(0, len(paths), ARGUMENTS):
            some = paths[first : first + ARGUMENTS]
            done = await trio.run_process(["rm", "-rf", "--", *some], check=False, capture_stderr=True)
            if done.returncode:
                empty = False
                journal.warning("removed container's files stay", error=done.stderr.decode(errors="replace"))
        return empty
