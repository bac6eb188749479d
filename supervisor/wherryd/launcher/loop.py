"""The launcher's event loop: requests in, orders to workers, exits out.

Owns every entry. Must never wait for a container, a supervisor or a file: each may hang for ever.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import sys

from wherryd.kernel import failpoints
from wherryd.kernel.errors import from_oserror
from wherryd.kernel.hints import hint
from wherryd.kernel.pidfd import pidfd_send_signal
from wherryd.kernel.shortage import shortage
from wherryd.launcher import wire
from wherryd.launcher.crew import Crew, Order
from wherryd.launcher.door import Door
from wherryd.launcher.entry import Entry, make_stdio
from wherryd.launcher.exec_entry import ExecEntry
from wherryd.launcher.moment import Moment
from wherryd.launcher.peer import Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIGKILL = 9

_STARTS = ("spawn", "exec")


class Loop:
    """Runs until nothing is held and nobody is connected."""

    def __init__(self, listener: _socket.socket, signals: int, nofile: tuple[int, int]) -> None:
        self._listener = listener
        self._signals = signals
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._entries: dict[str, Entry] = {}
        self._by_pid: dict[int, Entry] = {}
        self._early: dict[int, tuple[int | None, int | None]] = {}
        self._begun: list[Entry] = []
        self._moment = Moment(listener.fileno(), signals)
        self._peer: Peer | None = None
        self._spare_pair: tuple[_socket.socket, _socket.socket] | None = None
        self._crew = Crew(self._watch, self._unwatch, nofile)
        self._requests: dict[str, Callable[..., None]] = {
            "spawn": self._spawn,
            "exec": self._exec,
            "release": self._release,
            "close_stdin": self._close_stdin,
            "drop_lifeline": self._drop_lifeline,
            "kill": self._kill,
            "keep": self._keep,
            "list": self._list,
            "expect": self._expect,
        }
        self._door = Door(listener, self.connect, self._watch, self._unwatch)
        self._watch(signals, self._on_signal)

    def run(self) -> None:
        """Serve until there is no reason to."""
        self._crew.hire()
        self._make_ahead()
        while self._peer or self._entries:
            peer = None if self._crew.behind else self._peer
            if peer and self._moment.wait(peer.fileno(), *self._crew.busy):
                self._on_signal(select.EPOLLIN)  # before all else: there is who waits for it
            for fd, events in self._poll.poll(self._door.patience(self._patience)):
                handler = self._handlers.get(fd)
                if handler is not None:  # an earlier event of this batch may have ended it
                    handler(events)
            self._tell_begun()
            self._crew.attend()
            self._door.attend()

    @property
    def _patience(self) -> float | None:
        """How long to sleep at most: None is for ever."""
        begun = [0.0 if entry.exit else self._moment.left(entry) for entry in self._begun]
        due = [self._crew.patience, *begun]
        return min([each for each in due if each is not None], default=None)

    def _watch(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)

    # The supervisor

    def connect(self, sock: _socket.socket) -> None:
        """Take a supervisor's connection; an older one is a dead supervisor's, whose last words count."""
        while self._peer is not None:
            self._on_peer(select.EPOLLIN)  # ends with a hang-up: there is no more, or none yet
        for entry in self._entries.values():
            entry.brief = False  # another supervisor asked for that
        self._peer = Peer(sock, self._poll)
        self._watch(sock.fileno(), self._on_peer)
        self._say("hello", wire.VERSION, os.getpid(), wire.HOLDING_SINCE)

    def _disconnect(self) -> None:
        if self._peer is not None:
            self._unwatch(self._peer.fileno())
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
        try:
            self._requests[message[0]](*message[1:], fds=fds)
        except Exception as error:  # noqa: BLE001 - one request must not cost every container its parent
            _complain(f"request {message[0]!r} failed: {error!r}")
            if message[0] in _STARTS and message[1] not in self._entries:
                self._say("failed", message[1], "clone", message[0], None, shortage(error) or 0, repr(error))
        finally:
            for fd in fds:
                os.close(fd)

    def _refuse(self, message: tuple[Any, ...] | None) -> None:
        """Answer a request whose descriptors we have no room for."""
        if message is not None and message[0] in _STARTS:
            number = errno.EMFILE
            self._say("failed", message[1], "clone", "recvmsg", None, number, hint("recvmsg", number))

    # Requests

    def _spawn(
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
        failpoints.hit("launcher.spawn")
        entry = Entry(name, cgroup)

        def order() -> Order:
            given = [self._open_status(entry)]
            try:
                given += make_stdio(entry, stdin=stdin, terminal=terminal)
                for fd in fds:
                    given.append(os.dup(fd))
            except OSError:
                self._give_back(entry, given)
                raise
            return Order(entry, plan, given, needs, promise)

        self._begin(entry, order)

    def _exec(
        self, name: str, note: bytes, lifeline: bool, brief: bool, needs: int, plan: bytes, *, fds: list[int]
    ) -> None:
        failpoints.hit("launcher.exec")
        entry = ExecEntry(name, note, brief=brief)
        self._begin(entry, lambda: self._join_order(entry, lifeline, needs, plan, fds))

    def _begin(self, entry: Entry, order: Callable[[], Order]) -> None:
        name = entry.id
        if name in self._entries:
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
        self._entries[name] = entry
        self._moment.begin(entry)
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
        ours, status = self._spare_pair or self._status_pair()
        self._spare_pair = None
        self._handlers[ours.fileno()] = lambda _events: self._on_status(entry, ours)
        entry.watch(ours)
        return status.detach()

    def _status_pair(self) -> tuple[_socket.socket, _socket.socket]:
        pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
        # No events asked for: what wakes us is the hang-up, when everybody has told what there is to tell.
        self._poll.register(pair[0].fileno(), 0)
        return pair

    def _make_ahead(self) -> None:
        """Make the pair of status sockets for the next start."""
        try:
            self._spare_pair = self._spare_pair or self._status_pair()
        except OSError:
            return  # no descriptor is left: whose start needs it is told

    def _expect(self, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        self._crew.wake()

    def _give_back(self, entry: Entry, given: list[int]) -> None:
        """Undo `_open_status`, and close what was to go with an order."""
        if entry.status is not None:
            self._unwatch(entry.status.fileno())
            entry.close_status()
        for fd in given:
            os.close(fd)

    def _release(self, name: str, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        failpoints.hit("launcher.release")
        entry = self._entries.get(name)
        if entry is not None and not entry.pending:
            del self._entries[name]
            self._by_pid.pop(entry.pid, None)
            entry.close()

    def _close_stdin(self, name: str, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.get(name)
        if entry is not None:
            entry.drop("stdin")

    def _drop_lifeline(self, name: str, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.get(name)
        if entry is not None:
            entry.drop("lifeline")

    def _kill(self, name: str, signal: int, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.get(name)
        if entry is None or entry.exit is not None:
            return
        if entry.pending:
            if self._crew.drop(entry):
                return  # closing its status socket told the loop
            entry.read_status()
        target = entry.fds.get("pidfd")
        if target is not None:
            pidfd_send_signal(target, signal)
        else:
            self._crew.kill(entry)
            entry.call_off()

    def _keep(self, name: str, pid: int, kinds: tuple[str, ...], *state: Any, fds: list[int]) -> None:
        """Hold what another launcher held until it died. Its end is not ours to see, and not told."""
        failpoints.hit("launcher.keep")
        if name not in self._entries:
            held = dict(zip(kinds, map(os.dup, fds), strict=True))
            self._entries[name] = Entry.kept_for(name, pid, held, *state)

    def _list(self, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        failpoints.hit("launcher.list")
        for entry in self._entries.values():
            code, signal = entry.exit or (None, None)
            state = (code, signal, entry.pending, entry.note, entry.kept)
            self._say("held", entry.id, entry.pid, entry.kinds, *state, fds=tuple(entry.fds.values()))
        self._say("listed")

    # Containers

    def _on_status(self, entry: Entry, status: _socket.socket) -> None:
        entry.read_status()
        self._unwatch(status.fileno())
        entry.close_status()
        failpoints.hit("launcher.told")
        if entry.pid:
            self._by_pid[entry.pid] = entry
            self._end(entry, self._early.pop(entry.pid, None))
            if entry.doomed and entry.exit is None:
                os.kill(entry.pid, _SIGKILL)  # it is our child, and not reaped yet
        elif not entry.over:
            entry.call_off()  # its worker forked, and died before it could tell: nobody knows that process
        if entry.executing and entry.pid and entry.failure is None:
            entry.pending = False
            self._begun.append(entry)
        else:
            self._moment.end(entry)
        self._settle(entry)

    def _tell_begun(self) -> None:
        """Tell which commands execute; that it has ended is told with it of a brief one.

        Not of one that SIGKILL ended: who finds out why wants its descriptors.
        """
        begun, self._begun = self._begun, []
        for entry in begun:
            if entry.brief and entry.exit is not None and entry.exit[1] != _SIGKILL:
                self._moment.end(entry)
                self._say("ran", entry.id, entry.pid, *entry.exit, entry.told)
                continue
            if entry.brief and entry.exit is None and self._moment.left(entry) > 0:
                self._begun.append(entry)
                continue
            self._moment.end(entry)
            self._say("spawned", entry.id, entry.pid, entry.kinds, fds=tuple(entry.fds.values()))
            self._settle(entry)

    def _on_signal(self, _events: int) -> None:
        os.read(self._signals, 4096)
        while True:
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if result is None:
                return
            exited = result.si_code == os.CLD_EXITED
            ended = (result.si_status, None) if exited else (None, result.si_status)
            entry = self._by_pid.get(result.si_pid)
            if entry is not None:
                failpoints.hit("launcher.exited")
                self._end(entry, ended)
                self._settle(entry)
            else:
                self._on_stranger(result.si_pid, ended)

    def _on_stranger(self, pid: int, ended: tuple[int | None, int | None]) -> None:
        """A worker, an orphan that we inherited, or a container's process of which nobody has told yet."""
        if any(entry.status for entry in self._entries.values()):
            self._early[pid] = ended
        else:
            self._early.clear()
        for entry in [entry for entry in self._entries.values() if entry.over]:
            self._settle(entry)

    def _end(self, entry: Entry, ended: tuple[int | None, int | None] | None) -> None:
        if ended is not None:
            del self._by_pid[entry.pid]
            entry.end(ended)

    def _settle(self, entry: Entry) -> None:
        """Tell what is known of an ended container; a failed start is told when nothing of it is left."""
        if not entry.pending:
            if entry.exit is not None:
                if entry not in self._begun:
                    self._say("exited", entry.id, *entry.exit, entry.told)
                self._crew.prepare()
        elif entry.over:
            del self._entries[entry.id]
            entry.close()
            self._say("failed", entry.id, *(entry.failure or _interrupted(entry)))


def _complain(text: str) -> None:
    print(f"wherryd: launcher: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its journal


def _interrupted(entry: Entry) -> tuple[Any, ...]:
    what = f"signal {entry.exit[1]} ended its process" if entry.exit else "it was called off"
    return ("set-up", "spawn", None, errno.EINTR, f"{what} while it was being set up")
