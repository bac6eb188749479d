"""The async client's verbs about the log of events."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.async_event_stream import AsyncEventStream
    from wherry_protocol import event_log
    from wherry_protocol.event_log import Event, Missed
else:
    event_log = Lazy("wherry_protocol.event_log")


class AsyncEventLogVerbs(AsyncVerbsBase):
    """One method per verb about the log of events."""

    def events(
        self,
        *,
        after: int | None = None,
        since: float | None = None,
        until: float | None = None,
        filters: Sequence[tuple[str, str]] = (),
    ) -> AsyncEventStream[Event | Missed, None]:
        """Iterate over what happens: after event number `after`, or since a time, else from now on.

        Without `until` there is no end. Times are seconds since the epoch. Filters are ("container", name or
        start of an id), ("event", action), ("type", "container", "image", "volume" or "daemon"),
        ("label", "key" or "key=value"), ("image", name), ("volume", name). Same key twice: either;
        different keys: both.

        Numbers have no holes, and go on when the supervisor is restarted: keep the last event's `seq`, and
        `after` it nothing is lost or doubled. Missed comes in the place of events that are not kept any more.

        Example:
            place = client.last_event()
            ...
            with client.events(after=place, filters=[("event", "die")]) as events:
                for event in events:
                    print(event)

        """
        return self.stream(event_log.Events(after=after, since=since, until=until, filters=tuple(filters)))

    async def last_event(self) -> int:
        """Return the number of the newest event: what happens from now on comes after it."""
        return await self.call(event_log.LastEvent())
