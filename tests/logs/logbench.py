"""A running pump, and a log to try things on."""

from __future__ import annotations

import os
import tty
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wherryd.logs.reader import Chunk, read

if TYPE_CHECKING:
    from wherryd.logs.log import Log
    from wherryd.logs.pump import LogPump


@dataclass
class Bench:
    """A running pump, and pipes attached to a log through it."""

    pump: LogPump
    log: Log

    def pipe(self, number: int = 1) -> int:
        """Attach a new pipe as this stream; return its write end."""
        reading, writing = os.pipe()
        self.pump.attach(self.log, {number: reading})
        return writing

    def stream(self, kind: str) -> int:
        """Attach a new "pipe" or "terminal" as standard output; return what is written to."""
        if kind == "pipe":
            return self.pipe()
        master, slave = os.openpty()
        tty.setraw(slave)
        self.pump.attach(self.log, {1: master}, tty=True)
        return slave

    async def chunks(self, **how: Any) -> list[Chunk]:
        async with aclosing(read(self.log, **how)) as chunks:
            return [chunk async for chunk in chunks]

    async def text(self, **how: Any) -> bytes:
        return b"".join(chunk.data for chunk in await self.chunks(**how))

    async def grown(self, size: int) -> None:
        """Wait until the log holds this many bytes."""
        with self.log.listening():
            while self.log.end() < size:
                await self.log.wait_changed(self.log.changes)


def write_all_and_close(fd: int, data: bytes) -> None:
    """Write everything, however full the pipe gets, then close."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.close(fd)
