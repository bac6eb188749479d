"""A supervisor that goes, and the wait for the next one: until when, how often to look, what to tell.

Owns the patience of both clients, and the plain client's wait. Must never start a supervisor: who stopped the
last one will start the next.
"""

from __future__ import annotations

import time

from wherry.session import HungUp
from wherry.wire import NoSupervisor, Wire
from wherry_protocol.errors import ConnectionFailed
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.following import Following
    from wherry_protocol.call import Call, R

    Tell = Callable[[bool], None]

LONG = 2.0
"""Seconds after which a wait is worth a word: a restart takes one."""

_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.25

AWAY = (HungUp, NoSupervisor)
"""What says that there is no supervisor at present."""


class Away:
    """One wait for a supervisor, of at most so many seconds.

    `tell` hears True when it is long, False at its end.
    """

    def __init__(self, error: ConnectionFailed, seconds: float, tell: Tell | None) -> None:
        self._error = error
        self._seconds = seconds
        self._tell = tell
        self._since = time.monotonic()
        self._pause = _FIRST_PAUSE
        self._told = False

    def pause(self) -> float:
        """Return how long to wait before the next try. Raises the error of the loss when it was enough."""
        waited = time.monotonic() - self._since
        if waited >= self._seconds:
            raise ConnectionFailed(
                f"{self._error.message}, and none came within {self._seconds:.0f} s", hint=self._error.hint
            ) from self._error
        if waited >= LONG and not self._told:
            self._told = True
            if self._tell is not None:
                self._tell(True)
        pause, self._pause = self._pause, min(self._pause * 1.5, _LAST_PAUSE)
        return min(pause, self._seconds - waited)

    def back(self) -> None:
        """Take note that it is over."""
        if self._told and self._tell is not None:
            self._tell(False)


class Again:
    """How a stream finds the next supervisor. Who polls sets `pause`, and `tell` if he has his own words."""

    def __init__(
        self,
        following: Following,
        connect: Callable[[], Wire],
        seconds: float,
        tell: Tell | None,
    ) -> None:
        self.following = following
        self.pause: Callable[[float], None] = time.sleep
        self.tell = tell
        self._connect = connect
        self._seconds = seconds

    def wire(self, error: HungUp) -> Wire:
        """Return a connection on which the stream goes on. Raises ConnectionFailed."""
        call = self.following.call
        if call is None:
            raise error
        away = Away(error, self._seconds, self.tell)
        while True:
            self.pause(away.pause())
            try:
                wire = self._connect()
            except NoSupervisor:
                continue
            try:
                wire.begin(call)
            except BaseException:
                wire.close()
                raise
            away.back()
            return wire


def call_again(
    call: Call[R], error: HungUp, connect: Callable[[], Wire], seconds: float, tell: Tell | None
) -> R:
    """Ask the next supervisor, and the one after that, until there is an answer. Raises ConnectionFailed."""
    away = Away(error, seconds, tell)
    while True:
        time.sleep(away.pause())
        try:
            wire = connect()
        except NoSupervisor:
            continue
        try:
            away.back()
            return wire.call(call)
        except HungUp as again:
            away = Away(again, seconds, tell)
        finally:
            wire.close()
