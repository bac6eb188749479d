"""One client's connection: frames in, verbs run, frames out.

Owns the socket and every descriptor that arrives on it. Knows nothing of containers. A client that breaks the
protocol is told why and hung up on; what it asked for before goes on or not as the verbs decide.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from wherry_protocol.call import Stream
from wherry_protocol.codec import ANNOUNCEMENT
from wherry_protocol.connection import (
    NEED_DATA,
    Connection,
    ConnectionClosed,
    RemoteProtocolError,
    RequestReceived,
    RequestRefused,
    Role,
)
from wherry_protocol.errors import BadRequest, Busy, ProtocolError, WherryError
from wherryd import journal
from wherryd.control.emitter import Emitter
from wherryd.control.reply import Reply
from wherryd.control.sender import Sender, acquire
from wherryd.control.unforeseen import advised, told
from wherryd.shortage import refusal
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry_protocol.call import Call
    from wherry_protocol.connection import Event
    from wherry_protocol.value import Value
    from wherryd.control.verbs import Verbs

    Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]

HELLO_TIMEOUT = 5.0
"""Seconds for a client to say hello; later it is taken for gone."""

MAX_IN_FLIGHT = 256
"""Requests of one connection at once; more wait in the socket."""

CLOSE_TIMEOUT = 1.0
"""Seconds for the last words to a client that is being hung up on."""

SETTLE_TIMEOUT = 1.0
"""Seconds that a request waits for the end of the one before, of which its client may know before we do."""

AT_ONCE = 0.00015
"""Seconds in which a client has sent what it announced. Nothing else is done meanwhile."""

_READ = 1 << 16
_MOST_FDS = 16
_ANCILLARY = socket.CMSG_SPACE(_MOST_FDS * 4)


class Session:
    """A connection being served. `run` is its task and closes it."""

    def __init__(self, sock: socket.socket, verbs: Verbs) -> None:
        self._sock = sock
        self._verbs = verbs
        self._connection = Connection(Role.SERVER)
        self._sender = Sender(sock)
        self._room = trio.Semaphore(MAX_IN_FLIGHT)
        self._streaming = False
        self._reply: Reply | None = None

    async def run(self) -> None:
        """Serve until the client hangs up or breaks the protocol."""
        with self._sock:
            try:
                await self._serve()
            except OSError as error:
                journal.debug("a client's connection broke", error=error)
            except (RemoteProtocolError, Busy) as error:
                await self._hang_up(error)
            finally:
                _close(self._connection.take_unclaimed_fds())

    async def _serve(self) -> None:
        await self._sender.send(self._connection.send_hello())
        with trio.move_on_after(HELLO_TIMEOUT) as scope:
            await self._receive()
        if scope.cancelled_caught:
            raise RemoteProtocolError(f"no hello within {HELLO_TIMEOUT:.0f} s")
        failure: OSError | RemoteProtocolError | Busy | None = None
        async with open_nursery() as nursery:
            try:
                while await self._events(nursery):
                    await self._receive()
            except (OSError, RemoteProtocolError, Busy) as error:
                failure = error
            finally:
                self._sender.over = True
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _receive(self) -> None:
        received = await self._recvmsg()
        self._take_in(received)
        if received[0] == ANNOUNCEMENT and self._reply is not None and self._reply.done:
            self._verbs.expect()
            announced = self._recvmsg_in_a_moment()
            if announced is not None:
                self._take_in(announced)

    def _take_in(self, received: Received) -> None:
        data, ancillary, flags, _ = received
        fds = _descriptors(ancillary)
        try:
            self._connection.receive_data(data, fds)
        except MemoryError as error:
            raise _unread(error) from None
        if flags & socket.MSG_CTRUNC:
            raise _cut(len(fds))

    def _recvmsg_in_a_moment(self) -> Received | None:
        """Read what was announced, if it comes while we look: a turn of the event loop takes half as long."""
        until = time.monotonic() + AT_ONCE
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                return self._sock.recvmsg(_READ, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            os.sched_yield()
        return None

    async def _recvmsg(self) -> Received:
        """Read what there is. Not through trio.socket: that ends each call with a turn of the event loop."""
        waited = False
        while True:
            try:
                received = self._sock.recvmsg(_READ, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                waited = True
                continue
            except MemoryError as error:
                raise _unread(error) from None
            if not waited:
                # Who never stops sending is not the only one here.
                await trio.lowlevel.cancel_shielded_checkpoint()
            return received

    async def _events(self, nursery: trio.Nursery) -> bool:
        while (event := self._next_event()) is not NEED_DATA:
            if isinstance(event, ConnectionClosed):
                return False
            await self._handle(event, nursery)
        return True

    def _next_event(self) -> Any:
        try:
            return self._connection.next_event()
        except MemoryError as error:
            raise _unread(error) from None

    async def _handle(self, event: Event, nursery: trio.Nursery) -> None:
        if isinstance(event, RequestRefused):
            _close(event.fds)
            await self._sender.send(self._connection.send_error(event.id, event.error))
        elif isinstance(event, RequestReceived):
            await self._settled()
            if self._verbs.begins_at_once(event.call):
                await self._sender.caught_up()
                self._begin(event, nursery)
                return
            fds = list(event.fds)
            try:
                await acquire(self._room)
            except BaseException:
                _close(fds)
                raise
            start_soon(nursery, self._answer, event, fds, nursery)

    async def _settled(self) -> None:
        """Wait until we know of the end of what was begun before: its client may know before we do."""
        if self._reply is not None and not self._reply.done:
            with trio.move_on_after(SETTLE_TIMEOUT):
                await self._reply.wait_done()

    async def _answer(self, request: RequestReceived, fds: list[int], nursery: trio.Nursery) -> None:
        try:
            value = await self._perform(request, fds, nursery)
            data = self._connection.send_answer(request.id, value)
        except WherryError as error:
            data = self._connection.send_error(request.id, advised(error))
        except (BrokenPipeError, ConnectionResetError) as error:
            journal.debug("a client hung up", op=request.call.op, error=error)
            nursery.cancel_scope.cancel()
            return
        except Exception as error:  # noqa: BLE001 - one request's defect must not end the connection
            data = self._connection.send_error(request.id, told(request.call.op, error))
        finally:
            _close(fds)
            self._room.release()
        try:
            await self._sender.send(data)
        except OSError:
            nursery.cancel_scope.cancel()

    async def _perform(self, request: RequestReceived, fds: list[int], nursery: trio.Nursery) -> Any:
        call = request.call
        self._check(call, fds)
        if not isinstance(call, Stream):
            return await self._verbs.answer(call)
        self._streaming = True
        try:
            return await self._verbs.stream(call, Emitter(self, request.id, fds, nursery))
        finally:
            self._streaming = False

    def _check(self, call: Call[Any], fds: Sequence[int]) -> None:
        allowed = call.descriptors if isinstance(call, Stream) else 0
        if len(fds) > allowed:
            raise BadRequest(f"{call.op}: {len(fds)} descriptors came along, at most {allowed} are taken")
        if self._streaming or (self._reply is not None and not self._reply.done):
            raise BadRequest(f"{call.op}: a stream has this connection", hint="open another one")
        if isinstance(call, Stream) and self._connection.in_flight > 1:
            raise BadRequest(f"{call.op}: a stream needs a connection without other requests")

    def _begin(self, request: RequestReceived, nursery: trio.Nursery) -> None:
        """Perform a request whose verb needs no task."""
        reply = Reply(self._connection, self._sender, nursery, request)
        try:
            self._check(request.call, request.fds)
            self._reply = reply
            self._verbs.begin(request.call, reply)
        except WherryError as error:
            reply.fail(error)
        except Exception as error:  # noqa: BLE001 - one request's defect must not end the connection
            reply.defect(error)
        finally:
            _close(reply.fds)

    async def emit(self, identity: int, event: Value, fds: Sequence[int]) -> None:
        """Send a stream's event; waits while the client does not read."""
        await self._sender.send(self._connection.send_event(identity, event, fds=len(fds)), fds)

    def hold(self, identity: int, event: Value, nursery: trio.Nursery) -> None:
        """Send a stream's event with the next frame, or alone after HOLD_SECONDS."""
        self._sender.hold(self._connection.send_event(identity, event), nursery)

    async def _hang_up(self, error: ProtocolError | Busy) -> None:
        journal.warning("a client was hung up on", error=error)
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await self._sender.send(self._connection.send_error(None, error))
            except OSError as gone:
                journal.debug("the client was gone", error=gone)


def _unread(error: MemoryError) -> Busy | MemoryError:
    """Return why a request could not be read: nothing has come of it, so it is not our end."""
    return refusal("request", error) or error


def _cut(count: int) -> RemoteProtocolError | Busy:
    """Return why not all descriptors that a client sent have come along (recvmsg(2), MSG_CTRUNC)."""
    short = refusal("request", OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    if count < _MOST_FDS and short is not None:
        return short
    return RemoteProtocolError("more descriptors came along than are allowed")


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
            fds.extend(received)
    return fds


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
