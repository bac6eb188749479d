"""The log of what happened: its events, and the requests for them; events.py is the codec's, not this."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value

TYPES = ("container", "image", "volume", "network", "daemon")
"""What an event can be about."""


class Event(Value):
    """Something that happened, in docker's words.

    `seq` is its number in the log: each event has the number of the one before plus one, also across
    restarts of the supervisor. `time` is nanoseconds since the epoch. `actor` is the id of what it
    happened to; `attributes` are the actor's name, labels and image, and facts such as exitCode.
    """

    seq: int
    time: int
    type: str
    action: str
    actor: str
    attributes: Mapping[str, str]


class Missed(Value):
    """Events that are not kept any more, or were never written: the numbers `first` to `last`."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many there were."""
        return self.last - self.first + 1


class Events(Stream[None]):
    """Stream events: those after number `after`, or since a time (seconds since the epoch), else new ones.

    Ends at `until`, which may lie ahead; None is never. Filters, as docker: ("container", name or start of
    an id), ("event", action), ("type", TYPES), ("label", key or key=value), ("image", name), ("volume",
    name), ("network", name or id). Same key twice: either; different keys: both. Missed comes in the place
    of what is not there. When `anchored`, the first one is a Missed of no events: `last` is the number after
    which reading begins.
    """

    op = "events"
    events = (Event, Missed)
    repeatable = True
    after: int | None = None
    since: float | None = None
    until: float | None = None
    filters: tuple[tuple[str, str], ...] = ()
    anchored: bool = False


class LastEvent(Call[int]):
    """Ask for the number of the newest event; 0 before the first one."""

    op = "last_event"
    answer = int
