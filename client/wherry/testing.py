r"""A supervisor that follows a script, for testing programs that use wherry without running a container.

    with FakeSupervisor() as fake:
        fake.on(Wait, lambda call: ExitStatus(code=3))
        assert Client(fake.run_dir).wait("web").code == 3
        assert fake.calls == [Wait(ref="web")]

Owns a thread per connection on a real Unix socket in a directory of its own. Must never touch the
machine otherwise.
"""

from __future__ import annotations

import array
import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wherry_protocol.connection import NEED_DATA, Connection, RemoteProtocolError, RequestReceived, Role
from wherry_protocol.connection import RequestRefused as Refused
from wherry_protocol.errors import Unsupported, WherryError
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.call import Call

C = TypeVar("C", bound="Call[Any]")


class WithFds(Value):
    """An event together with descriptors that ride along; they stay the handler's to close."""

    event: Value
    fds: tuple[int, ...]


class FakeSupervisor:
    """Answers each kind of call with what its handler returns.

    A handler takes the call. It returns the answer, or raises a WherryError, or for a streaming
    call is a generator that yields events (or WithFds) and returns the answer. A call without a
    handler is answered with Unsupported.
    """

    def __init__(self) -> None:
        self.run_dir = tempfile.mkdtemp(prefix="wherry-fake-")
        self.calls: list[Call[Any]] = []
        """Every call that came, in order."""
        self._handlers: dict[type[Any], Callable[[Any], Any]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def on(self, kind: type[C], handler: Callable[[C], Any]) -> None:
        """Answer calls of this kind from now on with what `handler` returns."""
        self._handlers[kind] = handler

    def __enter__(self) -> Self:
        self._listener.bind(os.path.join(self.run_dir, "control.sock"))
        self._listener.listen()
        self._spawn(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody and remove the socket."""
        for sock in [self._listener, *self._connections]:
            with suppress(OSError):  # the peer was first to hang up
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *self._connections]:
            sock.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return  # close() shut the listener down
            self._connections.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(Role.SERVER)
        with suppress(OSError):  # a client may hang up at any point
            sock.sendall(connection.send_hello())
            try:
                while data := sock.recv(1 << 16):
                    connection.receive_data(data)
                    self._answer_all(sock, connection)
            except RemoteProtocolError as error:
                sock.sendall(connection.send_error(None, error))
                sock.shutdown(socket.SHUT_RDWR)

    def _answer_all(self, sock: socket.socket, connection: Connection) -> None:
        while (event := connection.next_event()) is not NEED_DATA:
            if isinstance(event, Refused):
                sock.sendall(connection.send_error(event.id, event.error))
            elif isinstance(event, RequestReceived):
                self.calls.append(event.call)
                self._answer(sock, connection, event)

    def _answer(self, sock: socket.socket, connection: Connection, request: RequestReceived) -> None:
        try:
            answer = self._handler(request.call)(request.call)
            if isinstance(answer, GeneratorType):
                answer = _send_events(sock, connection, request.id, answer)
        except WherryError as error:
            sock.sendall(connection.send_error(request.id, error))
        else:
            sock.sendall(connection.send_answer(request.id, answer))

    def _handler(self, call: Call[Any]) -> Callable[[Any], Any]:
        handler = self._handlers.get(type(call))
        if handler is None:
            raise Unsupported(f"{call.op}: the fake supervisor has no handler for it")
        return handler


def _send_events(sock: socket.socket, connection: Connection, identity: int, events: Any) -> Any:
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        fds: tuple[int, ...] = ()
        if isinstance(event, WithFds):
            fds, event = event.fds, event.event
        _send(sock, connection.send_event(identity, event, fds=len(fds)), fds)


def _send(sock: socket.socket, data: bytes, fds: tuple[int, ...]) -> None:
    sent = 0
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sent = sock.sendmsg([data], [rights])
    if rest := data[sent:]:  # sending nothing fails too, once the client has hung up
        sock.sendall(rest)
