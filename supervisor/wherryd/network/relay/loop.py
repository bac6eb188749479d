"""The relay's loop: epoll, level-triggered; what becomes ready is handled, one after another."""

from __future__ import annotations

import select
from typing import Protocol


class Entry(Protocol):
    """Something with descriptors. `handle` does what can be done now, and must not block."""

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors to watch."""
        ...

    def handle(self, events: int) -> None:
        """Go on."""
        ...

    def close(self) -> None:
        """Close the descriptors."""
        ...


class Loop:
    """Runs entries until `stop`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._entries: dict[int, Entry] = {}
        self._running = True

    def add(self, entry: Entry, events: int = select.EPOLLIN) -> None:
        """Watch an entry's descriptors."""
        for fd in entry.fds:
            self._entries[fd] = entry
            self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Watch a descriptor for something else."""
        self._epoll.modify(fd, events)

    def discard(self, entry: Entry) -> None:
        """Watch an entry no more. Before its descriptors are closed."""
        for fd in entry.fds:
            if self._entries.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    def stop(self) -> None:
        """End after what is being handled."""
        self._running = False

    def run(self) -> None:
        """Handle what is ready, until stopped."""
        while self._running:
            for fd, events in self._epoll.poll():
                entry = self._entries.get(fd)
                if entry is not None:  # another one may have closed it
                    entry.handle(events)
