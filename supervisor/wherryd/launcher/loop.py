"""The launcher's event loop: requests in, forks, exits out.

Owns every entry. Must never wait for a container, a supervisor or a file: each may hang for ever.
"""

from __future__ import annotations

import os
import select
import sys

import _socket

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.pidfd import pidfd_send_signal
from wherryd.kernel.syscalls import CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CLONE_NEWPID, clone3
from wherryd.launcher import child, wire
from wherryd.launcher.entry import Entry, make_stdio
from wherryd.launcher.peer import Peer, accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIGCHLD = 17  # on every architecture that we support; `signal` would cost the process 0.7 MiB
_STATUS_SIZE = 16384
_ANCILLARY = _socket.CMSG_SPACE(4)
_STATUS_FAMILY = (_socket.AF_UNIX, _socket.SOCK_STREAM)


class Loop:
    """Runs until nothing is held and nobody is connected."""

    def __init__(self, listener: _socket.socket, signals: int, poll: select.epoll) -> None:
        self._listener = listener
        self._signals = signals
        self._poll = poll
        self._entries: dict[str, Entry] = {}
        self._by_pid: dict[int, Entry] = {}
        self._peer: Peer | None = None
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._requests: dict[str, Callable[..., None]] = {
            "spawn": self._spawn,
            "release": self._release,
            "close_stdin": self._close_stdin,
            "kill": self._kill,
            "list": self._list,
        }
        self._watch(listener.fileno(), select.EPOLLIN, self._accept)
        self._watch(signals, select.EPOLLIN, self._on_signal)

    def run(self) -> None:
        """Serve until there is no reason to."""
        while self._peer or self._entries:
            for fd, events in self._poll.poll():
                handler = self._handlers.get(fd)
                if handler is not None:  # an earlier event of this batch may have ended it
                    handler(events)

    def _watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)

    # The supervisor

    def connect(self, sock: _socket.socket) -> None:
        """Take a supervisor's connection; an older one is a dead supervisor's."""
        self._disconnect()
        self._peer = Peer(sock, self._poll)
        self._watch(sock.fileno(), select.EPOLLIN, self._on_peer)
        self._say("hello", wire.VERSION, os.getpid())

    def _disconnect(self) -> None:
        if self._peer is not None:
            self._unwatch(self._peer.fileno())
            self._peer.close()
            self._peer = None

    def _say(self, *message: Any, fds: tuple[int, ...] = ()) -> None:
        if self._peer is not None:
            self._peer.say(wire.pack(*message), fds)

    def _accept(self, _events: int) -> None:
        sock = accept(self._listener)
        if sock is not None:
            self.connect(sock)

    def _on_peer(self, events: int) -> None:
        peer = self._peer
        if peer is None:
            return
        if events & select.EPOLLOUT:
            peer.flush()
        if not events & ~select.EPOLLOUT:
            return
        request = peer.receive()
        if request is None:
            self._disconnect()
            return
        message, fds = request
        try:
            self._requests[message[0]](*message[1:], fds=fds)
        except Exception as error:  # noqa: BLE001 - one request must not cost every container its parent
            print(f"wherryd: launcher: request {message[0]!r} failed: {error!r}", file=sys.stderr, flush=True)  # noqa: T201 - its journal
        finally:
            for fd in fds:
                os.close(fd)

    # Requests

    def _spawn(  # noqa: PLR0917 - the message's fields
        self, name: str, cgroup: str, namespaces: tuple[str, ...], stdin: bool, terminal: bool,
        plan: bytes, *, fds: list[int],
    ) -> None:  # fmt: skip
        if name in self._entries:
            self._say("failed", name, "clone", "spawn", name, 17, "the launcher still holds it")
            return
        entry = Entry(name)
        ours: list[int] = []
        try:
            ours = make_stdio(entry, stdin=stdin, terminal=terminal)
            self._fork(entry, cgroup, namespaces, plan, ours, fds)
        except OSError as error:
            entry.close()
            failure = from_oserror(error, "clone3")
            self._say("failed", name, "clone", failure.op, failure.path, failure.errno, failure.hint)
        finally:
            for fd in ours:
                os.close(fd)

    def _fork(
        self, entry: Entry, cgroup: str, namespaces: tuple[str, ...], plan: bytes, stdio: list[int], fds: list[int]
    ) -> None:
        flags = CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP | (child.flags_of(namespaces) & CLONE_NEWPID)
        status, theirs = _socket.socketpair(*_STATUS_FAMILY)
        group = _open_cgroup(cgroup)
        try:
            pid, pidfd = clone3(flags, _SIGCHLD, group)
            if pid == 0:
                child.run(plan, stdio, theirs, fds[0] if fds else None)
        finally:
            os.close(group)
            theirs.close()
        entry.pid = pid
        entry.fds = {"pidfd": pidfd, **entry.fds}
        self._entries[entry.id] = self._by_pid[pid] = entry
        # No events asked for: what wakes us is the hang-up, when the record is complete.
        self._watch(status.fileno(), 0, lambda _events: self._on_status(entry, status))

    def _release(self, name: str, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._by_pid.pop(entry.pid, None)
            entry.close()

    def _close_stdin(self, name: str, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.get(name)
        if entry is not None:
            entry.close_stdin()

    def _kill(self, name: str, signal: int, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        entry = self._entries.get(name)
        if entry is not None and entry.exit is None:
            pidfd_send_signal(entry.fds["pidfd"], signal)

    def _list(self, *, fds: list[int]) -> None:  # noqa: ARG002 - every request has it
        for entry in self._entries.values():
            code, signal = entry.exit or (None, None)
            held = tuple(entry.fds.values())
            self._say("held", entry.id, entry.pid, entry.kinds, code, signal, entry.pending, fds=held)
        self._say("listed")

    # Containers

    def _on_status(self, entry: Entry, status: _socket.socket) -> None:
        data, ancillary, _, _ = status.recvmsg(_STATUS_SIZE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
        self._unwatch(status.fileno())
        status.close()
        for _, _, rights in ancillary:
            entry.fds["terminal"] = int.from_bytes(rights[:4], "little")
        if data == child.MARK:
            self._executed(entry)
            return
        record = data.removeprefix(child.MARK)
        entry.failure = wire.unpack(record) if record else ("set-up", "clone3", None, 4, "")
        self._settle(entry)

    def _executed(self, entry: Entry) -> None:
        entry.pending = False
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
            entry = self._by_pid.pop(result.si_pid, None)
            if entry is not None:  # else an orphan that we inherited
                exited = result.si_code == os.CLD_EXITED
                entry.exit = (result.si_status, None) if exited else (None, result.si_status)
                self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Tell what is known of an ended container; a failed start is told when nothing of it is left."""
        if entry.exit is None:
            return
        if entry.failure is not None:
            del self._entries[entry.id]
            entry.close()
            self._say("failed", entry.id, *_explain(entry.failure, entry.exit))
        elif not entry.pending:
            self._say("exited", entry.id, *entry.exit)


def _explain(failure: tuple[Any, ...], ended: tuple[int | None, int | None]) -> tuple[Any, ...]:
    if failure[4] == "":
        return (*failure[:4], f"the process was ended by signal {ended[1]} while it was being set up")
    return failure


def _open_cgroup(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open cgroup", path, error.errno or 0) from error
