"""A request that is certain to be under way, for tests of who waits: a thread that asks may come too late."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.forms import within

from wherry_protocol.connection import NEED_DATA, AnswerReceived, Connection, ErrorReceived, Role
from wherry_protocol.system import Ping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

    from wherry import ExitStatus
    from wherry_protocol.call import Call

PATIENCE = within(30.0)


class Asked:
    """A request that is under way: whoever has this knows that the supervisor is at it."""

    def __init__(self, sock: socket.socket, call: Call[ExitStatus]) -> None:
        self._sock = sock
        self._connection = Connection(Role.CLIENT)
        sock.sendall(self._connection.send_hello())
        self._receive()
        self._id, data = self._connection.send_request(call)
        sock.sendall(data)
        self.check_open()

    def check_open(self) -> None:
        """A later request on the same connection is answered, and this one is not."""
        identity, data = self._connection.send_request(Ping())
        self._sock.sendall(data)
        event = self._receive()
        assert isinstance(event, AnswerReceived)
        assert event.id == identity, f"it was answered: {event}"

    def answer(self) -> ExitStatus:
        """Return the answer, or raise its error."""
        event = self._receive()
        assert isinstance(event, AnswerReceived | ErrorReceived)
        assert event.id == self._id
        if isinstance(event, ErrorReceived):
            raise event.error
        status: ExitStatus = event.value
        return status

    def _receive(self) -> Any:
        while (event := self._connection.next_event()) is NEED_DATA:
            self._connection.receive_data(self._sock.recv(1 << 16))
        return event


@contextmanager
def asked(daemon: Daemon, call: Call[ExitStatus]) -> Iterator[Asked]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(daemon.run_dir / "control.sock"))
        yield Asked(sock, call)
