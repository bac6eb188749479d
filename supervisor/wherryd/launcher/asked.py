"""What the handle on the launcher waits for: the answer to a start, the end of what was started. No IO.

Both have an event for a task to wait for, and a function to be called in the very step in which it comes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.launcher.link import Link
    from wherryd.launcher.outcome import Exit, Ran, Spawned, SpawnFailed


class Asked:
    """A start whose answer has not come. `abandoned`: it was called off, and nobody is called.

    `link` leads to the launcher that was asked. The answer is one of three; `ran` is one to who asked for
    something brief.
    """

    def __init__(self, name: str, link: Link, note: bytes | None = None) -> None:
        self.name = name
        self.link = link
        self.note = note
        self.answered = trio.Event()
        self.spawned: Spawned | None = None
        self.ran: Ran | None = None
        self.failure: SpawnFailed | None = None
        self.abandoned = False
        self.then: Callable[[], None] | None = None

    def answer(self) -> None:
        """Tell that the answer is there."""
        self.answered.set()
        then, self.then = self.then, None  # it may lead back here
        if then is not None and not self.abandoned:
            then()


class Held:
    """A process from its start until its release. `link` leads to the launcher that holds it.

    `fds` are duplicates of all that the launcher holds, by kind, for the day when it dies. Raises OSError
    when there can be none, and then nothing is held.
    """

    def __init__(self, process: Spawned, link: Link, note: bytes | None) -> None:
        self.pid = process.pid
        self.fds = _duplicates(process)
        self.note = note
        self.link = link
        self.orphan = False
        self.exit: Exit | None = None
        self.ended: trio.Event | None = None
        self.then: Callable[[Exit], None] | None = None

    def drop(self, kind: str) -> None:
        """Close a descriptor, if there is one of the kind."""
        fd = self.fds.pop(kind, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close every descriptor."""
        for kind in tuple(self.fds):
            self.drop(kind)

    def end(self, status: Exit) -> None:
        """Record how it ended; the first to say so knows it best."""
        if self.exit is None:
            self.exit = status
            if self.ended is not None:
                self.ended.set()
            then, self.then = self.then, None
            if then is not None:
                then(status)


def _duplicates(process: Spawned) -> dict[str, int]:
    made: dict[str, int] = {}
    try:
        for kind, fd in process.descriptors():
            made[kind] = os.dup(fd)
    except OSError:
        for fd in made.values():
            os.close(fd)
        raise
    return made
