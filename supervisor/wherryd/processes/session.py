"""One exec: a process beside a container's first one, and the live things of it.

Owns its descriptors. The task in execs.py is the only one that ends it; requests find it there.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

import trio

from wherry_protocol.processes import ExecStarted, ExecSummary
from wherryd import journal
from wherryd.containers.oom_verdict import Suspect
from wherryd.launcher import wire

if TYPE_CHECKING:
    from wherry_protocol.containers import ExitStatus
    from wherryd.containers.container import Container
    from wherryd.launcher.outcome import Spawned


class Note:
    """What the launcher keeps of an exec for the next supervisor. It has its wire form here only."""

    def __init__(
        self, container_id: str, args: tuple[str, ...], started_at: float, probe: bool = False
    ) -> None:
        self.container_id = container_id
        self.args = args
        self.started_at = started_at
        self.probe = probe

    @classmethod
    def new(cls, container: Container, args: tuple[str, ...], *, probe: bool) -> Note:
        """Return the note of an exec that starts now."""
        return cls(container.id, args, time.time(), probe)

    def pack(self) -> bytes:
        """Return it as bytes."""
        return wire.pack(self.container_id, self.args, self.started_at, self.probe)

    @classmethod
    def unpack(cls, data: bytes) -> Note:
        """Return what `pack` packed."""
        return cls(*wire.unpack(data))


class Session:
    """An exec from its start to its end. Nobody waits for it when `lifeline` is None.

    A `probe` of health is our own: it is in no list, and nobody is told of it.
    """

    def __init__(self, container: Container, note: Note, held: Spawned) -> None:
        self.id = held.id
        self.container = container
        self.pid = held.pid
        self.pidfd = held.pidfd
        self.tty = held.tty
        self.lifeline = held.lifeline
        self.detached = held.lifeline is None
        self.probe = note.probe
        self.suspect = Suspect(held.pid, held.pidfd)
        self.killed = False
        """Whether we killed it ourselves."""
        self.left = trio.Event()
        """Set when its client has left it to itself."""
        self.ended = trio.Event()
        self.exit: ExitStatus | None = None
        self._note = note

    def started(self) -> ExecStarted:
        """Return what its client is told."""
        return ExecStarted(id=self.id, pid=self.pid)

    def summary(self) -> ExecSummary:
        """Return everything known of it."""
        return ExecSummary(
            id=self.id,
            container_id=self.container.id,
            pid=self.pid,
            args=self._note.args,
            started_at=self._note.started_at,
            tty=self.tty is not None,
            detached=self.detached,
            exit=self.exit,
        )

    def log(self, event: str, **facts: object) -> None:
        """Write a line to the journal; of a probe only when debugging."""
        write = journal.debug if self.probe else journal.info
        write(event, id=self.id, container=self.container.name, **facts)

    def leave(self) -> None:
        """Let it go on without its client."""
        self.detached = True
        self.left.set()

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.pidfd, self.tty, self.lifeline):
            if fd is not None:
                os.close(fd)
        self.tty = self.lifeline = None


class Handover:
    """A terminal on its way to a client: opened by the start, closed by whoever made it.

    Use it as a context manager round the start, which may succeed after its client has given up.
    """

    def __init__(self) -> None:
        self._closed = False
        self.fds: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for fd in self.fds:
            os.close(fd)
        self.fds = ()

    def open(self, tty: int | None) -> None:
        """Take a copy; nothing happens when it was given up meanwhile."""
        if tty is not None and not self._closed:
            self.fds = (fcntl.fcntl(tty, fcntl.F_DUPFD_CLOEXEC, 3),)
