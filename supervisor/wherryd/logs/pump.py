"""The thread that moves what containers print from their pipes and terminals into their logs.

Owns every pipe read end and pty master from `attach` to its end. One thread, because writing to a file
can block for seconds when the disk is slow, and the supervisor's own loop must never wait for that.
It sleeps in its own epoll and has no timer, unless a log is in trouble, or waits for a reader before its
next piece.

Never drops a byte: what cannot be written stays in the pipe, whose writer then waits, unless he asked not to
(overflow.py). Never takes a byte into memory but for that. When this process is killed, what it had not moved
is still in the pipes, for a successor that got duplicates of them.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wherryd import no_memory
from wherryd.logs.source import Pipe, Terminal, is_over
from wherryd.logs.trouble import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wherryd.logs.limits import LogLimits
    from wherryd.logs.log import Log
    from wherryd.logs.source import Source

THREAD_NAME = "wherryd: logs"
RETRY = 0.25
"""Seconds between two tries to write a log that is in trouble."""
RELIEF = 0.01
AT_ONCE = 0.001
"""The same of a container that does not wait: its pipe must not be full; and when it fills quickly."""
HOLD = 0.002
"""Seconds between two looks whether a reader has come far enough for a log's next piece."""
CLOSE_PATIENCE = 2.0
"""Seconds that `close` waits for a write that hangs in the kernel."""


class LogPump:
    """Moves bytes from attached streams to logs. Its methods are for the trio thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._commands: deque[Callable[[], None]] = deque()
        self._bounds: deque[Callable[[], None]] = deque()
        self._sources: dict[int, Source] = {}
        self._stuck: dict[Source, OSError] = {}
        self._later: dict[Source, float] = {}
        self._stopping = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        """Start the thread; to be called inside the trio run that is to be told of changes."""
        self._token = trio.lowlevel.current_trio_token()
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close every descriptor; unread bytes stay in the pipes."""
        self._stopping = True
        if self._thread.ident is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join(CLOSE_PATIENCE)
        if self._thread.is_alive():
            # Stuck in the kernel under a hung disk: closing under its hands could hit a reused number.
            return
        for source in list(self._sources.values()):
            self._forget(source)
        self._epoll.close()
        os.close(self._wake)

    def attach(
        self,
        log: Log,
        streams: Mapping[int, int],
        *,
        tty: bool = False,
        staging: tuple[int, int] | None = None,
    ) -> bool:
        """Move what comes from `streams` (1 or 2 -> descriptor) into `log` until each ends.

        Return whether there is anything to move, or may be: a pipe that ended empty already is closed here.
        The descriptors are the pump's from now on, also when this fails with OSError.
        With `tty` the descriptor is a pty's master, and `staging` a pipe (read end, write end) that its
        bytes pass through; None makes one, whose content dies with this process.
        """
        made: list[Source] = []
        for number, fd in streams.items():
            if not tty and is_over(fd):
                os.close(fd)
                continue
            source = Terminal(log, number, fd, staging or os.pipe()) if tty else Pipe(log, number, fd)
            self._sources[fd] = source
            made.append(source)
        log.pump = self
        log.sources.update(made)
        # The thread may see an event of the first before the second is watched.
        try:
            for source in made:
                self._watch(source)
        except OSError:
            self.drop(log)
            raise
        return bool(made)

    def give_up(self, log: Log) -> None:
        """Make what the log's streams of now hold the last of them."""
        self._command(partial(self._give_up, list(log.sources)))

    def drop(self, log: Log) -> None:
        """Close the log's streams of now as they are."""
        self._command(partial(self._drop, list(log.sources)))

    def bound(self, log: Log, limits: LogLimits) -> None:
        """Have other limits hold for a log, before anything is moved that is printed from now on."""
        self._bounds.append(partial(self._bound, log, limits))
        os.eventfd_write(self._wake, 1)

    def tidy(self, log: Log) -> None:
        """Remove what a log keeps for readers only, and for none any more."""
        self._command(partial(self._tidy, log))

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        os.eventfd_write(self._wake, 1)

    def _watch(self, source: Source) -> None:
        source.watched = True
        try:
            self._epoll.register(source.fd, select.EPOLLIN)
        except OSError:
            source.watched = False
            raise

    # From here on: the thread.

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(THREAD_NAME, encoding="ascii")
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - a dead pump would stop every container silently
            no_memory.ends_us(error)
            self._tell(partial(_fail, error))

    def _turn(self) -> None:
        events = self._epoll.poll(self._patience())
        while self._bounds:
            self._bounds.popleft()()
        for fd, event in events:
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd in self._sources:
                self._sources[fd].look(event)
                self._serve(self._sources[fd])
        # Only now: what is closed here may still stand in `events`.
        self._obey()
        if self._later:
            now = time.monotonic()
            for source in [each for each, due in self._later.items() if due <= now]:
                self._serve(source)

    def _patience(self) -> float:
        return max(min(self._later.values()) - time.monotonic(), 0.0) if self._later else -1

    def _obey(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def _serve(self, source: Source) -> None:
        segment = source.log.segment
        segment.held = False
        try:
            moved = source.move(segment)
        except OSError as error:
            self._stick(source, error)
            self._changed(source.log)
            return
        if source in self._stuck:
            self._unstick(source)
        if segment.held:
            self._put_off(source, HOLD)
        elif source in self._later:
            del self._later[source]
            self._watch(source)
        over = source.ended and not segment.held
        if over:
            self._end(source)
        if moved or over or source.log.dropped_now:
            self._changed(source.log)

    def _stick(self, source: Source, error: OSError) -> None:
        """Leave the source's bytes where they are, until a retry can write them."""
        self._put_off(source, self._relieve(source))
        if source not in self._stuck:
            self._trouble(source.log, describe(source.log, error))
        self._stuck[source] = error

    def _relieve(self, source: Source) -> float:
        """Drop what a container that is not to wait would have to wait for; return when to look again."""
        if source.log.limits.blocking:
            return RETRY
        return AT_ONCE if source.make_room(source.log.segment) else RELIEF

    def _put_off(self, source: Source, seconds: float) -> None:
        """Leave the source's bytes where they are for a while."""
        # Not modify(fd, 0): epoll reports EPOLLHUP whether asked or not.
        self._unwatch(source)
        self._later[source] = time.monotonic() + seconds

    def _unstick(self, source: Source) -> None:
        self._stuck.pop(source, None)
        if not any(other.log is source.log for other in self._stuck):
            self._trouble(source.log, None)

    def _trouble(self, log: Log, trouble: str | None) -> None:
        self._tell(partial(log.tell_trouble, trouble))

    def _changed(self, log: Log) -> None:
        for notice in log.segment.notices:
            self._tell(partial(log.tell_notice, notice))
        log.segment.notices.clear()
        for count, lines in log.dropped_now:
            self._tell(partial(log.tell_dropped, count, lines))
        log.dropped_now.clear()
        if log.segment.turns != log.turns_told:
            log.turns_told = log.segment.turns
            if log.packs:
                self._tell(log.tell_full, idempotent=True)
        if log.listeners:
            self._tell(log.notify, idempotent=True)

    def _tell(self, call: Callable[[], None], *, idempotent: bool = False) -> None:
        if self._token is not None:
            self._token.run_sync_soon(_told, call, idempotent=idempotent)

    def _end(self, source: Source) -> None:
        # Before the trio thread can see that the run is over, and prepare the files for the next.
        if source.log.sources == {source}:
            source.log.segment.close()
        self._forget(source)

    def _forget(self, source: Source) -> None:
        # Before the close: other processes hold duplicates, so closing alone does not end the watch.
        self._unwatch(source)
        self._stuck.pop(source, None)
        self._later.pop(source, None)
        del self._sources[source.fd]
        source.close()
        source.log.sources.discard(source)

    def _unwatch(self, source: Source) -> None:
        if source.watched:
            source.watched = False
            self._epoll.unregister(source.fd)

    def _give_up(self, sources: Sequence[Source]) -> None:
        for source in self._living(sources):
            source.give_up()
            self._serve(source)

    def _drop(self, sources: Sequence[Source]) -> None:
        for source in self._living(sources):
            if source in self._stuck:
                self._trouble(source.log, None)
            self._end(source)

    def _bound(self, log: Log, limits: LogLimits) -> None:
        log.segment.bound(limits)
        for source in self._living(tuple(log.sources)):
            source.bound(limits)
            if source in self._stuck:
                self._trouble(log, describe(log, self._stuck[source]))  # what that means is another thing now
        self._tidy(log)

    def _tidy(self, log: Log) -> None:
        piece = log.piece()
        if piece is not None:
            log.segment.shelf.tidy(piece.base, time.monotonic())

    def _living(self, sources: Sequence[Source]) -> list[Source]:
        return [source for source in sources if self._sources.get(source.fd) is source]


def _told(call: Callable[[], None]) -> None:
    """Be called in the trio thread, where nobody could catch what fails."""
    try:
        call()
    except MemoryError:
        no_memory.end()


def _fail(error: BaseException) -> None:
    raise RuntimeError("the log pump broke") from error
