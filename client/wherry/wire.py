"""One control connection over a plain blocking socket.

Owns the socket and turns its failures into ConnectionFailed. Must never know a verb.

`_socket` is the C half of `socket`: the Python half adds 8 ms to a command's start (enumerations,
selectors) and nothing that is needed here.
"""

from __future__ import annotations

import _socket as socket
import errno
import select
from struct import pack, unpack

from wherry.session import READ_SIZE, Session
from wherry_protocol.connection import MAX_FDS
from wherry_protocol.errors import ConnectionFailed
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry_protocol.call import Call, R
    from wherry_protocol.connection import EventReceived

_FD_SIZE = 4
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * _FD_SIZE)


class NoSupervisor(ConnectionFailed):
    """Nothing listens at the socket's path; starting a supervisor may help."""


class Wire:
    """A connection that one caller uses at a time."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._session = Session()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            _connect(self._socket, path, timeout)
        except OSError as error:
            self._socket.close()
            raise connect_error(error, path) from error
        self._socket.settimeout(timeout)

    @property
    def reusable(self) -> bool:
        """Whether another call may follow: the last one is done and the supervisor still listens."""
        if not self._session.reusable or self._session.announced:
            return self._session.reusable  # to announce a call was to see that the supervisor is there
        # Not recv(MSG_DONTWAIT): a socket with a timeout waits it out before it asks the kernel.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if poll.poll(0) and self._session.settled:
            # What it said of a call before it knew that this was settled.
            try:
                self.receive()
            except ConnectionFailed:
                return False
        return self._session.reusable and not poll.poll(0)

    @property
    def done(self) -> bool:
        """Whether the call in progress has its answer."""
        return self._session.done

    def fileno(self) -> int:
        """Return the socket's descriptor, for poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, call: Call[R]) -> R:
        """Send a request and return its answer. Raises what the supervisor answers, or ConnectionFailed."""
        self.begin(call)
        while not self.done:
            self.receive()
        answer: R = self.result()
        return answer

    def announce(self) -> None:
        """Wake the supervisor for the call that is about to begin, whichever that is."""
        data = self._session.announce()
        try:
            if data:
                self._socket.send(data, socket.MSG_NOSIGNAL)
        except OSError:
            self._session.broken = True  # the next call finds another connection

    def begin(self, call: Call[Any], fds: Sequence[int] = ()) -> None:
        """Send a request, with copies of descriptors."""
        data = self._session.begin(call, len(fds))
        try:
            if fds:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, pack(f"={len(fds)}i", *fds))
                data = data[self._socket.sendmsg([data], [rights]) :]
            if data:
                self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the supervisor hung up: the next read says why
        except OSError as error:
            raise self._broken(error) from error

    def receive(self) -> list[EventReceived]:
        """Wait for bytes and return the stream's events in them."""
        try:
            data, fds = self._read()
        except ConnectionResetError:
            data, fds = b"", []
        except OSError as error:
            raise self._broken(error) from error
        return self._session.receive(data, fds)

    def settle(self) -> None:
        """Take note that the call in progress has its answer by another way: none follows."""
        self._session.settle()

    def result(self) -> Any:
        """Return the answer of the call that is done, or raise its error."""
        return self._session.result()

    def _read(self) -> tuple[bytes, list[int]]:
        data, ancillary, _flags, _address = self._socket.recvmsg(
            READ_SIZE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC
        )
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.extend(unpack(f"={len(payload) // _FD_SIZE}i", payload))
        return data, fds

    def _broken(self, error: OSError) -> ConnectionFailed:
        self._session.broken = True
        if isinstance(error, TimeoutError):
            return ConnectionFailed(f"supervisor at {self._path}: no answer within the client's timeout")
        return ConnectionFailed(f"supervisor at {self._path}: {error.strerror or error}", errno=error.errno)


def _connect(sock: socket.socket, path: str, timeout: float | None) -> None:
    """Connect within `timeout`, waiting for room in the supervisor's queue (connect(2)).

    Not by Python's timeout: it makes the socket non-blocking, and a full queue then refuses it (EAGAIN).
    """
    if timeout is not None:
        seconds = int(timeout)
        # A timeval of zeros would be for ever.
        wait = pack("ll", seconds, max(int((timeout - seconds) * 1e6), 0 if seconds else 1))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    sock.connect(path)


def connect_error(error: OSError, path: str) -> ConnectionFailed:
    """Return what a failed connect means."""
    if error.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
        return NoSupervisor(
            f"no supervisor answers at {path}", hint="start one with 'wherryd'", errno=error.errno, path=path
        )
    if error.errno == errno.EAGAIN:
        return ConnectionFailed(
            f"supervisor at {path}: its queue of new connections stayed full within the client's timeout",
            hint="it is very busy or stuck: try again",
            errno=error.errno,
            path=path,
        )
    hint = "run this as root, or join the group that owns it" if error.errno == errno.EACCES else None
    reason = error.strerror or str(error)
    return ConnectionFailed(f"supervisor at {path}: {reason}", hint=hint, errno=error.errno, path=path)
