"""What the launcher waits for: descriptors, each with whom to call. Must never know what they are."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], None]


class Poll:
    """An epoll(7) instance. A handler gets the events; `instance` is for those that change theirs."""

    def __init__(self) -> None:
        self.instance = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, fd: int, handler: Handler, events: int = select.EPOLLIN) -> None:
        """Call the handler on these events, and when the other end hangs up."""
        self._handlers[fd] = handler
        self.instance.register(fd, events)

    def prepare(self, fd: int) -> None:
        """Watch for a hang-up, which cannot come before there is somebody to call: see `call`."""
        self.instance.register(fd, 0)

    def call(self, fd: int, handler: Handler) -> None:
        """Say whom to call of one that was prepared."""
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """Forget one. Before it is closed."""
        del self._handlers[fd]
        self.instance.unregister(fd)

    def turn(self, seconds: float | None) -> None:
        """Wait for events, for so long at most, and have all of them handled."""
        for fd, events in self.instance.poll(seconds):
            handler = self._handlers.get(fd)
            if handler is not None:  # an earlier event of this batch may have ended it
                handler(events)
