"""What requests about the log of events mean."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry_protocol.event_log import Events, LastEvent, Missed
from wherryd.control.times import nanoseconds

if TYPE_CHECKING:
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter


async def events(context: Context, call: Events, emitter: Emitter) -> None:
    log = context.manager.services.events
    after = call.after
    if call.anchored and after is None and call.since is None:
        after = log.last
        await emitter.send(Missed(first=after + 1, last=after))
    found = log.follow(
        after=after,
        since=nanoseconds(call.since),
        until=nanoseconds(call.until),
        wanted=call.filters,
    )
    async with aclosing(found):
        async for event in found:
            await emitter.send(event)


async def last_event(context: Context, _: LastEvent) -> int:
    return context.manager.services.events.last


ANSWERS: Answers = {
    LastEvent: last_event,
}

STREAMS: Streams = {
    Events: events,
}
