"""The async client's verbs about what containers use."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.async_event_stream import AsyncEventStream
    from wherry_protocol import stats
    from wherry_protocol.stats import Stats, StatsSample
else:
    stats = Lazy("wherry_protocol.stats")


class AsyncStatsVerbs(AsyncVerbsBase):
    """One method per verb about what containers use."""

    async def stats(self, ref: str) -> Stats:
        """Return what a running container uses, at once; `cpu_percent` is the average over its life.

        Executes nothing in the container: these are the kernel's counters of it.
        """
        return await self.call(stats.GetStats(ref=ref))

    def watch_stats(
        self,
        refs: Sequence[str] = (),
        *,
        all: bool = False,  # noqa: A002 - as the command line's option is called
        interval: float = 1.0,
    ) -> AsyncEventStream[StatsSample, None]:
        """Iterate over looks at running containers, one every `interval` seconds (0.1 to 86400).

        `refs` () are all that run; with `all` also those that do not. `cpu_percent` is since the look before;
        the first look lasts half a second at most. A container that ends is in no further look; when none
        of `refs` is left the iteration ends.

        Example:
            with client.watch_stats(["web"]) as samples:
                for sample in samples:
                    for stats in sample.containers:
                        print(stats.name, stats.cpu_percent)

        """
        return self.stream(stats.WatchStats(refs=tuple(refs), all=all, interval=interval))
