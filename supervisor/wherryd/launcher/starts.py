"""Starts: from the supervisor's request for a process to the order that a worker gets.

Owns what goes with an order until a worker has it, and the status socket by which it tells.
"""

from __future__ import annotations

import _socket
import errno
import os

from wherryd.kernel import failpoints
from wherryd.kernel.errors import from_oserror
from wherryd.launcher.entry import Entry, make_stdio
from wherryd.launcher.exec_entry import ExecEntry
from wherryd.launcher.hand import Order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.launcher.crew import Crew
    from wherryd.launcher.holdings import Holdings, Say
    from wherryd.launcher.poll import Poll

_PAIR = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)


class Starts:
    """Makes entries for `holdings`. Always has a pair of status sockets made ahead: an exec waits for it."""

    def __init__(self, poll: Poll, crew: Crew, holdings: Holdings, say: Say) -> None:
        self._poll = poll
        self._crew = crew
        self._holdings = holdings
        self._say = say
        self._ahead: tuple[_socket.socket, _socket.socket] | None = None
        self._make_ahead()

    def spawn(
        self,
        name: str,
        cgroup: str,
        stdin: bool,
        terminal: bool,
        promise: tuple[str | None, str | None],
        needs: int,
        plan: bytes,
        *,
        fds: list[int],
    ) -> None:
        """Start a container's first process."""
        failpoints.hit("launcher.spawn")
        entry = Entry(name, cgroup)

        def order() -> Order:
            given = [self._open_status(entry)]
            try:
                given += make_stdio(entry, stdin=stdin, terminal=terminal)
                for fd in fds:
                    given.append(os.dup(fd))
                return Order(entry, plan, given, needs, promise)
            except (OSError, MemoryError) as error:
                self._give_back(entry, given)
                raise _shortage(error) from None

        self._begin(entry, order)

    def exec(
        self, name: str, note: bytes, lifeline: bool, brief: bool, needs: int, plan: bytes, *, fds: list[int]
    ) -> None:
        """Start a process beside a container's first one."""
        failpoints.hit("launcher.exec")
        entry = ExecEntry(name, note, brief=brief)
        self._begin(entry, lambda: self._join_order(entry, lifeline, needs, plan, fds))

    def _begin(self, entry: Entry, order: Callable[[], Order]) -> None:
        name = entry.id
        if name in self._holdings:
            self._say("failed", name, "clone", "spawn", name, errno.EEXIST, "the launcher still holds it")
            return
        try:
            self._crew.take(order())
        except OSError as error:
            self._give_back(entry, [])
            entry.close()
            failure = from_oserror(error, "spawn")
            self._say("failed", name, "clone", failure.op, failure.path, failure.errno, failure.hint)
            return
        self._holdings.add(entry)
        self._make_ahead()
        failpoints.hit("launcher.ordered")

    def _join_order(self, entry: Entry, lifeline: bool, needs: int, plan: bytes, fds: list[int]) -> Order:
        given = [self._open_status(entry), *fds]
        fds.clear()
        if lifeline:
            entry.fds["lifeline"] = given.pop(2)
        return Order(entry, plan, given, needs)

    def _open_status(self, entry: Entry) -> int:
        """Give the entry our end of its status socket and return the other."""
        ours, status = self._ahead or self._pair()
        self._ahead = None
        self._poll.call(ours.fileno(), lambda _events: self._on_status(entry, ours))
        entry.watch(ours)
        return status.detach()

    def _pair(self) -> tuple[_socket.socket, _socket.socket]:
        pair = _socket.socketpair(*_PAIR)
        # What wakes us is the hang-up, when everybody has told what there is to tell.
        self._poll.prepare(pair[0].fileno())
        return pair

    def _make_ahead(self) -> None:
        try:
            self._ahead = self._ahead or self._pair()
        except OSError:
            return  # no descriptor is left: whose start needs it is told

    def _on_status(self, entry: Entry, status: _socket.socket) -> None:
        entry.read_status()
        self._poll.unwatch(status.fileno())
        self._holdings.on_told(entry)

    def _give_back(self, entry: Entry, given: list[int]) -> None:
        """Undo `_open_status`, and close what was to go with an order."""
        if entry.status is not None:
            self._poll.unwatch(entry.status.fileno())
            entry.close_status()
        for fd in given:
            os.close(fd)


def _shortage(error: OSError | MemoryError) -> OSError:
    return error if isinstance(error, OSError) else OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
