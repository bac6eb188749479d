"""Has full pieces of logs packed, one process at a time, a while after the last one came.

Owns which directories wait for it. What the process does is said in packing.py; nothing waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import WherryError
from wherryd import helper, journal
from wherryd.logs import packing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wherryd.logs.log import Log

GATHER_SECONDS = 0.5
"""How long a full piece waits for company: a process costs more than a small one is worth."""

TIMEOUT = 3600.0
"""Seconds: on a busy machine nothing is left for it, and what is raw then is tried with the next piece."""


class Packer:
    """What waits to be packed. `run` is its task."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._work = trio.Event()

    def take(self, directory: Path) -> None:
        """Have the full pieces of the log in a directory packed."""
        self._waiting[str(directory)] = None
        self._work.set()

    def look(self, logs: Iterable[Log]) -> None:
        """Take up what a former supervisor left."""
        for log in logs:
            if log.packs and packing.wanted(str(log.directory)):
                self.take(log.directory)

    async def run(self) -> None:
        """Pack what waits, until cancelled."""
        while True:
            await self._work.wait()
            await trio.sleep(GATHER_SECONDS)
            self._work = trio.Event()
            directories, self._waiting = [*self._waiting], {}
            await self._pack(directories)

    async def _pack(self, directories: list[str]) -> None:
        question = {"directories": directories}
        try:
            answer = await helper.ask("wherryd.logs.packing", question, what="packing logs", timeout=TIMEOUT)
        except WherryError as error:
            journal.warning("logs not packed", error=error)
            return
        for directory, text in answer["not_packed"].items():
            journal.warning("log not packed, its files stay as they are", directory=directory, error=text)
