"""The execs that were asked for less than a moment ago: most end in it, and need no task of their own.

Owns one alarm for all of them. Must never lose one: each is over, handed on, or let go with the supervisor.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherryd.launcher.asked import Asked
    from wherryd.processes.session import Session

MOMENT = 0.005
"""Seconds in which a short command has ended: its start is then told with its end."""


class Young:
    """What to do with them: `keep` one that lasts; `let_go` of one when the supervisor goes.

    `catch_up` does what was put off for those that are over.
    """

    def __init__(
        self,
        *,
        keep: Callable[[Session, Asked], None],
        let_go: Callable[[Session, Asked], Awaitable[None]],
        catch_up: Callable[[], None],
    ) -> None:
        self._keep = keep
        self._let_go = let_go
        self._catch_up = catch_up
        self._waiting: deque[tuple[float, Session, Asked]] = deque()
        self._alarm = trio.CancelScope()

    def add(self, session: Session, asked: Asked) -> None:
        """Take one in. Wakes no task: an alarm is set, if none is."""
        until = trio.current_time() + MOMENT
        if not self._waiting:
            self._alarm.deadline = until
        self._waiting.append((until, session, asked))

    async def run(self) -> None:
        """See to those whose moment is over, until cancelled."""
        try:
            while True:
                with self._alarm:
                    await trio.sleep_forever()
                self._alarm = trio.CancelScope()
                self._catch_up()
                self._sort()
        finally:
            self._catch_up()
            async with open_nursery() as nursery:
                for _, session, asked in self._waiting:
                    if not session.over.is_set():
                        start_soon(nursery, self._let_go, session, asked)

    def _sort(self) -> None:
        """Hand on those that last, and set the alarm for the first one that may still be short."""
        now = trio.current_time()
        while self._waiting:
            until, session, asked = self._waiting[0]
            if not session.over.is_set():
                if until > now:
                    self._alarm.deadline = until
                    return
                self._keep(session, asked)
            self._waiting.popleft()
