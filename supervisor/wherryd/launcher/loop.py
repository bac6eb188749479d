"""The launcher's event loop: requests in, orders to workers, exits out.

Owns the supervisor's connection. Must never wait for a container, a supervisor or a file: each may hang for
ever.

Where Python gets no memory (MemoryError), a start of which nothing has begun is refused. Anything else ends
us, as a kill would: what is half done here could not be told, and another launcher gets what we held.
"""

from __future__ import annotations

import errno
import os
import select
import sys

from wherryd.kernel.hints import hint
from wherryd.kernel.shortage import shortage
from wherryd.launcher import wire
from wherryd.launcher.crew import Crew
from wherryd.launcher.door import Door
from wherryd.launcher.holdings import Holdings
from wherryd.launcher.moment import Moment
from wherryd.launcher.peer import Peer
from wherryd.launcher.poll import Poll
from wherryd.launcher.starts import Starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

_STARTS = ("spawn", "exec")


class Loop:
    """Runs until nothing is held and nobody is connected."""

    def __init__(self, listener: _socket.socket, signals: int, nofile: tuple[int, int]) -> None:
        self._poll = poll = Poll()
        self._peer: Peer | None = None
        self._moment = Moment(listener.fileno(), signals)
        self._crew = Crew(poll.watch, poll.unwatch, nofile)
        self._holdings = Holdings(signals, self._crew, self._moment, self._say)
        starts = Starts(poll, self._crew, self._holdings, self._say)
        self._requests_with_descriptors: dict[str, Callable[..., None]] = {
            "spawn": starts.spawn,
            "exec": starts.exec,
            "keep": self._holdings.keep,
        }
        self._requests: dict[str, Callable[..., None]] = {
            "release": self._holdings.release,
            "close_stdin": self._holdings.close_stdin,
            "drop_lifeline": self._holdings.drop_lifeline,
            "kill": self._holdings.kill,
            "list": self._holdings.tell_all,
            "expect": self._crew.wake,
        }
        self._door = Door(listener, self.connect, poll.watch, poll.unwatch)
        poll.watch(signals, self._holdings.on_signal)

    def run(self) -> None:
        """Serve until there is no reason to."""
        self._crew.hire()
        while self._peer or self._holdings:
            peer = None if self._crew.behind else self._peer
            if peer and self._moment.wait(peer.fileno(), *self._crew.busy):
                self._holdings.on_signal(select.EPOLLIN)  # before all else: there is who waits for it
            self._poll.turn(self._door.patience(self._patience))
            self._holdings.tell_begun()
            self._crew.attend()
            self._door.attend()

    @property
    def _patience(self) -> float | None:
        """How long to sleep at most: None is for ever."""
        due = (self._crew.patience, self._holdings.patience)
        return min([each for each in due if each is not None], default=None)

    def connect(self, sock: _socket.socket) -> None:
        """Take a supervisor's connection; an older one is a dead supervisor's, whose last words count."""
        while self._peer is not None:
            self._on_peer(select.EPOLLIN)  # ends with a hang-up: there is no more, or none yet
        self._holdings.forget_who_asked()
        self._peer = Peer(sock, self._poll.instance)
        self._poll.watch(sock.fileno(), self._on_peer)
        self._say("hello", wire.VERSION, os.getpid(), wire.HOLDING_SINCE)

    def _disconnect(self) -> None:
        if self._peer is not None:
            self._poll.unwatch(self._peer.fileno())
            self._peer.close()
            self._peer = None

    def _say(self, *message: Any, fds: tuple[int, ...] = ()) -> None:
        if self._peer is None:
            return
        try:
            self._peer.say(wire.pack(*message), fds)
        except OSError as error:
            # It connects again, and asks for all that we hold.
            _complain(f"hung up on a supervisor that does not read: {error}")
            self._disconnect()

    def _on_peer(self, events: int) -> None:
        peer = self._peer
        if peer is None:
            return
        if events & select.EPOLLOUT:
            peer.flush()
        if events & ~select.EPOLLOUT:
            try:
                request = peer.receive()
            except wire.Cut as cut:
                self._refuse(cut.message)
                return
            if request is None:
                self._disconnect()
            else:
                self._obey(*request)

    def _obey(self, message: tuple[Any, ...], fds: list[int]) -> None:
        what, *fields = message
        try:
            if what in self._requests_with_descriptors:
                self._requests_with_descriptors[what](*fields, fds=fds)
            else:
                self._requests[what](*fields)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - one request must not cost every container its parent
            _complain(f"request {what!r} failed: {error!r}")
            if what in _STARTS and fields[0] not in self._holdings:
                self._say("failed", fields[0], "clone", what, None, shortage(error) or 0, repr(error))
        finally:
            for fd in fds:
                os.close(fd)

    def _refuse(self, message: tuple[Any, ...] | None) -> None:
        """Answer a request whose descriptors we have no room for."""
        if message is not None and message[0] in _STARTS:
            number = errno.EMFILE
            self._say("failed", message[1], "clone", "recvmsg", None, number, hint("recvmsg", number))


def _complain(text: str) -> None:
    print(f"wherryd: launcher: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its journal
