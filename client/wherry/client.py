"""The plain client: blocking calls over Unix sockets, safe to share between threads.

Owns a few idle connections and the start of a supervisor when there is none. Must never know a
verb: verbs/ has them.
"""

from __future__ import annotations

import _thread
import os
from contextlib import suppress

from wherry.autostart import autostart_allowed, not_started, refused, start_supervisor
from wherry.event_stream import EventStream
from wherry.session import HungUp
from wherry.settings import find_directories
from wherry.verbs import Verbs
from wherry.wire import NoSupervisor, Wire
from wherry_protocol.errors import Conflict, NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

    from wherry.reconnect import Again
    from wherry_protocol.call import Call, R, Stream

_IDLE_MAX = 4
"""Connections kept: more cost the supervisor a task each and save nobody a noticeable time."""


class Client(Verbs):
    """A client of the supervisor at `run_dir`.

    `run_dir` None is WHERRY_RUN_DIR, else what /etc/wherry/config.toml says, else /run/wherry.
    With `autostart` a supervisor is started when none answers, on `state_dir`, unless
    WHERRY_NO_AUTOSTART=1. `timeout` is how many seconds a call may wait for its answer; the
    default is as long as it takes: wait() and stop() take long rightly.

    `reconnect` is how many seconds to wait for the next supervisor when one goes: log_stream(), events(),
    wait() and what is attached then go on where they were, nothing missing and nothing twice. `on_away` is
    called with True when that takes more than a moment, and with False when it is over.

    Example:
        with Client() as client:
            created = client.run_detached(RunSpec(image="host", command=("sleep", "60")))
            client.stop(created.name)

    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        state_dir: str | os.PathLike[str] | None = None,
        autostart: bool = True,
        timeout: float | None = None,
        reconnect: float = 0.0,
        on_away: Callable[[bool], None] | None = None,
    ) -> None:
        self.directories = find_directories(run_dir, state_dir)
        self._autostart = autostart
        self._timeout = timeout
        self._reconnect = reconnect
        self._on_away = on_away
        self._lock = _thread.allocate_lock()
        self._idle: list[Wire] = []
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections; the next call opens another."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def call(self, call: Call[R]) -> R:
        """Send any request and return its answer."""
        wire = self._take()
        try:
            return wire.call(call)
        except HungUp as error:
            if not self._reconnect or not call.repeatable:
                raise
            lost = error
        finally:
            self._give_back(wire)
        from wherry.reconnect import call_again  # the few that lose a supervisor

        return call_again(call, lost, self._connect_only, self._reconnect, self._on_away)

    def announce(self) -> None:
        """Wake the supervisor, on the connection that the next call will use."""
        with self._lock:
            if self._idle and self._pid == os.getpid():
                self._idle[-1].announce()

    def stream(self, call: Stream[R], fds: Sequence[int] = ()) -> EventStream[Any, R]:
        """Send any streaming request, with copies of `fds`; its events come from the result."""
        again = self._again(call) if self._reconnect else None
        wire = self._take()
        try:
            wire.begin(again.following.first if again else call, fds)
        except BaseException:
            wire.close()
            raise
        return EventStream(wire, self._give_back, self._end_input, again)

    def _again(self, call: Stream[Any]) -> Again | None:
        from wherry.following import Following
        from wherry.reconnect import Again

        if not Following.possible(call):
            return None
        return Again(Following(call), self._connect_only, self._reconnect, self._on_away)

    def _take(self) -> Wire:
        if self._pid != os.getpid():
            self._forget()
        while self._idle:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is not None and wire.reusable:
                return wire
            if wire is not None:
                wire.close()
        return self._connect()

    def _give_back(self, wire: Wire) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_MAX and wire.done:
                self._idle.append(wire)
                return
        wire.close()

    def _connect_only(self) -> Wire:
        return Wire(self.directories.socket, self._timeout)

    def _connect(self) -> Wire:
        try:
            return Wire(self.directories.socket, self._timeout)
        except NoSupervisor as error:
            if not self._autostart:
                raise
            if not autostart_allowed():
                raise refused(error) from None
        reason = start_supervisor(self.directories)
        try:
            return Wire(self.directories.socket, self._timeout)
        except NoSupervisor:
            raise not_started(reason) from None

    def _end_input(self, ref: str) -> None:
        # It may have ended meanwhile, and be removed: then its exit is on the way.
        with suppress(NotFound, Conflict):
            self.close_stdin(ref)

    def _forget(self) -> None:
        """After a fork: the parent's connections are the parent's."""
        for wire in self._idle:
            wire.close()
        self._idle, self._pid = [], os.getpid()
        self._lock = _thread.allocate_lock()
