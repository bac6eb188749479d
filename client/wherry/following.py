"""Where a stream stands, so that another supervisor can go on with it. No IO.

Owns what is known of one streaming request: what was asked, and the last that came. Must never hide anything
but what only says where the stream begins, nor import what most requests do without.
"""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from wherry_protocol.call import Stream

_ATTACHED = {"run_attached", "start_attached", "attach"}
_ANCHORED = {"logs", "events"}


class Following:
    """One streaming request over several supervisors."""

    def __init__(self, call: Stream[Any]) -> None:
        self._asked = call
        self._started: Any = None
        self._last: Any = None

    @staticmethod
    def possible(call: Stream[Any]) -> bool:
        """Say whether a request is one that another supervisor can go on with."""
        return call.repeatable or call.op in _ATTACHED

    @property
    def first(self) -> Stream[Any]:
        """What to ask the first supervisor for."""
        return self._asked.replace(anchored=True) if self._asked.op in _ANCHORED else self._asked

    @property
    def call(self) -> Stream[Any] | None:
        """What to ask the next supervisor for; None when it cannot know what is wanted."""
        asked, last = self._asked, self._last
        if asked.op in _ATTACHED:
            return self._attached()
        if last is None:
            return self.first if asked.repeatable else None
        if asked.op == "logs":
            return asked.replace(tail=None, after=last.place)
        return asked.replace(after=last.last if hasattr(last, "last") else last.seq)

    def _attached(self) -> Stream[Any] | None:
        if self._started is None:
            # Nothing says that it was ever started, unless that was there before us.
            return self._asked if self._asked.op == "attach" else None
        from wherry_protocol.again import AttachAgain

        place = self._started.place if self._last is None else self._last.place
        return AttachAgain(ref=self._started.id, after=place)

    def note(self, event: Any) -> bool:
        """Take note of what came; say whether it is the caller's."""
        kind = type(event).__name__
        if kind == "Started":
            self._started = event
        elif kind in {"Output", "Event", "Missed"}:
            self._last = event
        return not (
            (kind == "Output" and not event.data and event.gap is None)
            or (kind == "Missed" and not event.count)
        )
