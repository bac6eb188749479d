"""A client's hold on a run: its output from the first byte or from now, its input, its end.

Of a run that is about to start it is expected by the run's own task before the first byte is moved, so that
none can go before it is read, and opened in the moment before anything can end or be removed. It is closed by
whoever made it, also when he gives up before the run starts.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from wherryd.logs.reader import Hold, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wherry_protocol.container_state import ExitStatus
    from wherryd.containers.container import Container, Run
    from wherryd.containers.over import Over
    from wherryd.logs.followers import Follower
    from wherryd.logs.log import Log
    from wherryd.logs.reader import Chunk


class Attachment:
    """Use it as a context manager round the start. `fds`: the terminal's master, or standard input's pipe."""

    def __init__(self) -> None:
        self._closed = False
        self._log: Log | None = None
        self._log_offset = 0
        self._follower: Follower | None = None
        self._hold: Hold | None = None
        self._ended: Over | None = None
        self.fds: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._leave()
        self.close_fds()

    def expect(self, log: Log, place: int) -> None:
        """Have a log keep what comes after a place for us, before any of it comes; `open` is to follow."""
        if not self._closed:
            self._log, self._follower = log, log.followers.join(place)

    def open(self, container: Container, run: Run, *, from_now: bool = False) -> None:
        """Take hold, of all of the run's output or of what comes; nothing happens when it was given up."""
        if self._closed:
            return
        if container.log.silent_at is None:
            self._take_hold(container.log, container.log.end() if from_now else run.log_offset)
        else:
            self._leave()
            self._log, self._log_offset = container.log, run.log_offset
        self._ended = container.ended
        source = run.stdin if run.tty is None else run.tty
        if source is not None:
            self.fds = (fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 3),)

    def reopen(self, container: Container, place: int) -> None:
        """Take hold again, after another supervisor, of the output after a place; of its end, if it ended."""
        self._take_hold(container.log, place)
        self._ended = container.ended

    def _take_hold(self, log: Log, place: int) -> None:
        self._log, self._log_offset = log, place
        self._follower = self._follower or log.followers.join(place)
        self._hold = Hold(follower=self._follower, piece=log.piece())

    def _leave(self) -> None:
        if self._log is not None and self._follower is not None:
            self._log.followers.leave(self._follower)
            self._log.tidy()
        self._follower = self._hold = None

    @property
    def place(self) -> int:
        """Where in the log its output begins."""
        return self._log_offset

    def close_fds(self) -> None:
        """Close our copies of the descriptors: the client has its own now."""
        for fd in self.fds:
            os.close(fd)
        self.fds = ()

    def output(self) -> AsyncGenerator[Chunk]:
        """Yield the run's output to its end; only once, after the start, to be closed with aclosing."""
        if self._log is None:
            raise RuntimeError("the attachment is not open")
        if self._hold is None:
            return _silence()
        hold, self._hold, self._follower = self._hold, None, None
        return read(self._log, follow=True, after=self._log_offset, hold=hold, run_end=self._run_end)

    def _run_end(self) -> int | None:
        """Return where the run's output ends, once that is known: the next run's may follow there."""
        return None if self._ended is None else self._ended.log_end

    async def wait_ended(self) -> ExitStatus | None:
        """Return how the run ended, once it is over and recorded; None when it never began."""
        if self._ended is None:
            raise RuntimeError("the attachment is not open")
        await self._ended.wait()
        return self._ended.status

    @property
    def ended(self) -> bool:
        """Say whether the run is over and recorded."""
        return self._ended is not None and self._ended.is_set()


async def _silence() -> AsyncGenerator[Chunk]:
    """Yield the output of a run that prints nothing."""
    nothing: tuple[Chunk, ...] = ()
    for chunk in nothing:
        yield chunk
