"""Deletes what was removed, off the event loop.

A removal is a rename into the trash directory: at once, and either done or not. The deletion follows in a
worker thread; what a crash leaves is deleted at the next start.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import trio

from wherryd import journal

if TYPE_CHECKING:
    from pathlib import Path


class Trash:
    """The trash directory. `run` is its task."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._work = trio.Event()
        self._work.set()

    def take(self, path: Path) -> None:
        """Move a directory out of sight; nothing happens when it is not there."""
        try:
            path.rename(self._directory / path.name)
        except FileNotFoundError:
            return
        self._work.set()

    async def run(self) -> None:
        """Delete what arrives, until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await trio.to_thread.run_sync(_empty, self._directory)


def _empty(directory: Path) -> None:
    for entry in os.scandir(directory):
        shutil.rmtree(entry.path, onerror=_tell)


def _tell(_function: object, path: str, error: object) -> None:
    journal.warning("removed container's file stays", path=path, error=error[1])  # type: ignore[index] # exc_info
