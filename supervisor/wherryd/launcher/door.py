"""Where supervisors come in. Must never keep the loop busy with one that there is no descriptor for."""

from __future__ import annotations

import time

from wherryd.launcher.peer import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_DEAF = 0.1
"""Seconds without a look at who wants to connect, when there is no descriptor for it."""


class Door:
    """The listening socket. `connect` gets who comes; `watch` and `unwatch` are the loop's."""

    def __init__(
        self,
        listener: _socket.socket,
        connect: Callable[[_socket.socket], None],
        watch: Callable[[int, Callable[[int], None]], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._listener = listener
        self._connect = connect
        self._watch = watch
        self._unwatch = unwatch
        self._deaf_until = 0.0
        watch(listener.fileno(), self._accept)

    def patience(self, seconds: float | None) -> float | None:
        """Return how long the loop may sleep, which may for so long otherwise: None is for ever."""
        if not self._deaf_until:
            return seconds
        deaf = max(0.0, self._deaf_until - time.monotonic())
        return deaf if seconds is None else min(seconds, deaf)

    def attend(self) -> None:
        """Listen again, when it is time."""
        if self._deaf_until and time.monotonic() >= self._deaf_until:
            self._deaf_until = 0.0
            self._watch(self._listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            sock = accept(self._listener)
        except OSError:
            # It waits in the queue, of which epoll would tell without end.
            self._unwatch(self._listener.fileno())
            self._deaf_until = time.monotonic() + _DEAF
            return
        if sock is not None:
            self._connect(sock)
