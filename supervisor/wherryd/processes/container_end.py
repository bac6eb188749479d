"""Whether a container is what an exec ended with: its end comes a moment before or after.

Must never keep anybody longer than CONTAINER_END.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherryd.kernel.procfs import read_stat

if TYPE_CHECKING:
    from wherryd.containers.container import Container

CONTAINER_HINT = 0.05
"""Seconds after a death by SIGKILL to see whether the container's first process dies too."""

CONTAINER_END = 2.0
"""Seconds for the end of a container whose first process is gone."""


class ContainerEnd:
    """The end of a container's present run, whether or not it comes."""

    def __init__(self, container: Container) -> None:
        self._ended = container.ended
        self._pid = container.pid

    async def came(self) -> bool:
        """Say whether it has come; waits a little, and longer for one on its way: all else dies first."""
        with trio.move_on_after(CONTAINER_HINT):
            await self._ended.wait()
        first = None if self._pid is None else read_stat(self._pid)
        if first is None or first.ended:
            with trio.move_on_after(CONTAINER_END):
                await self._ended.wait()
        return self._ended.is_set()
