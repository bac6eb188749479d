"""What requests about what containers use mean."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry_protocol.stats import GetStats, StatsSample, WatchStats
from wherryd.stats.looking import Watch, stats_of

if TYPE_CHECKING:
    from wherry_protocol.stats import Stats
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter


async def get_stats(context: Context, call: GetStats) -> Stats:
    manager = context.manager
    return await stats_of(manager.find(call.ref), manager.services)


async def watch_stats(context: Context, call: WatchStats, emitter: Emitter) -> None:
    watch = Watch(context.manager.services, call.refs, every=call.all, interval=call.interval)
    async with aclosing(watch.samples()) as samples:
        async for stats in samples:
            await emitter.send(StatsSample(containers=stats))


ANSWERS: Answers = {
    GetStats: get_stats,
}

STREAMS: Streams = {
    WatchStats: watch_stats,
}
