"""One exec: a process beside a container's first one, and the live things of it.

Owns its descriptors. Its keeper is the only one that starts and ends it; requests find it there.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import trio

from wherry_protocol.processes import ExecStarted, ExecSummary
from wherryd import journal
from wherryd.containers.oom_verdict import Suspect
from wherryd.launcher import wire
from wherryd.processes.container_end import ContainerEnd

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.errors import WherryError
    from wherryd.containers.container import Container
    from wherryd.launcher.outcome import Ran, Spawned
    from wherryd.processes.caller import Caller


_NOTE_FIELDS = 4


class Note:
    """What the launcher keeps of an exec for the next supervisor. It has its wire form here only.

    That supervisor may be of another release: fields are added at the end only, and unknown ones left out.
    """

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
        return cls(*wire.unpack(data)[:_NOTE_FIELDS])


class Session:
    """An exec from its request to its end. Nobody waits for it when `lifeline` is None.

    `begun`: it has a process, unless there is a `failure`; `gone`: that process has ended; `over`: it is
    known how, and nothing of the session is left.
    A `probe` of health is our own: it is in no list, and nobody is told of it.
    """

    def __init__(self, exec_id: str, container: Container, note: Note, caller: Caller) -> None:
        self.id = exec_id
        self.container = container
        self.container_end = ContainerEnd(container)
        self.caller = caller
        self.note = note
        self.pid = 0
        self.pidfd = -1
        self.tty: int | None = None
        self.lifeline: int | None = None
        self.detached = False
        self.suspect: Suspect | None = None
        self.killed = False
        """Whether we killed it ourselves."""
        self.left = trio.Event()
        """Set when its client has left it to itself."""
        self.begun = trio.Event()
        self.gone = trio.Event()
        self.over = trio.Event()
        self.failure: WherryError | None = None
        self.exit: ExitStatus | None = None

    @property
    def probe(self) -> bool:
        """Whether it is a probe."""
        return self.note.probe

    def begin(self, held: Spawned) -> Suspect:
        """Take its process, and our descriptors of it."""
        self.pid, self.pidfd, self.tty, self.lifeline = held.pid, held.pidfd, held.tty, held.lifeline
        self.detached = held.lifeline is None
        self.suspect = Suspect(held.pid, held.pidfd)
        self.begun.set()
        return self.suspect

    def run(self, ran: Ran) -> None:
        """Take note that it had a process, which is gone."""
        self.pid = ran.pid
        self.begun.set()
        self.gone.set()

    def fail(self, error: WherryError) -> None:
        """Tell that there is no process, and never will be."""
        self.failure = error
        for event in (self.begun, self.gone, self.over):
            event.set()
        self.caller.failed(error)

    def started(self) -> ExecStarted:
        """Return what its client is told."""
        return ExecStarted(id=self.id, pid=self.pid)

    def summary(self) -> ExecSummary:
        """Return everything known of it."""
        return ExecSummary(
            id=self.id,
            container_id=self.container.id,
            pid=self.pid,
            args=self.note.args,
            started_at=self.note.started_at,
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
        """Close the descriptors; what is known of it stays."""
        if self.suspect is not None:
            self.container.oom.suspects.discard(self.suspect)
            os.close(self.pidfd)
        for fd in (self.tty, self.lifeline):
            if fd is not None:
                os.close(fd)
        self.pidfd, self.tty, self.lifeline, self.suspect = -1, None, None, None
