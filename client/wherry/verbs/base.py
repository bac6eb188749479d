# Made from async_verbs/base.py by tests/client/generate_verbs.py: change that one.
"""What every verb of the plain client stands on.

Must never do IO itself: Client does.
"""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.event_stream import EventStream
    from wherry_protocol.call import Call, R, Stream


class VerbsBase:
    """Sends requests."""

    def announce(self) -> None:
        """Have the supervisor awake for a call that is about to begin, where that is worth it."""

    def call(self, call: Call[R]) -> R:
        """Send any request and return its answer."""
        raise NotImplementedError

    def stream(self, call: Stream[R], fds: Sequence[int] = ()) -> EventStream[Any, R]:
        """Send any streaming request; its events come from the result.

        Copies of `fds` ride along; they stay the caller's, and open until the stream is entered.
        """
        raise NotImplementedError


def ignore(_event: object) -> None:
    """Nobody wants to know."""
