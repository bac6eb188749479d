"""The control connection as a state machine without IO: bytes in, events out, and back.

Owns the order of messages, request ids in flight and the count of descriptors that ride along.
Must never do IO, close a descriptor or read a clock: the adapter round it does.

    connection = Connection(Role.SERVER)
    to the peer:   connection.send_hello() -> bytes, then send_request / send_answer / send_error / send_event
    from the peer: connection.receive_data(data, fds)   data b"" is the end of the stream
                   while (event := connection.next_event()) is not NEED_DATA: …

Events: HelloReceived, then at a server RequestReceived or RequestRefused (answer that one with
`send_error(event.id, event.error)`; the connection lives on), at a client EventReceived,
AnswerReceived, ErrorReceived (`id` None: the reason why the server hangs up), and ConnectionClosed.

Frames (msgpack maps, codec.py has the limits):

    hello    {"wherry": PROTOCOL_VERSION, "version": software version}       first, each way
    request  {"id": int, "op": str, …fields of the call}
    event    {"id": int, "event": class name, "value": {…}}
    answer   {"id": int, "ok": value}
    error    {"id": int or nil, "error": {code, message, …}}

`"fds": n` in a frame says that n descriptors ride along (SCM_RIGHTS on the frame's first byte).
They are queued as they arrive and handed out with their frame; whoever takes the event owns them.

Whose fault: RemoteProtocolError is the peer's. A server then sends `send_error(None, error)` and
hangs up; both sides close what `take_unclaimed_fds()` returns. LocalProtocolError is a defect here.
"""

from __future__ import annotations

from collections import deque

from wherry_protocol import PROTOCOL_VERSION, SOFTWARE_VERSION
from wherry_protocol.call import Stream
from wherry_protocol.codec import (
    ANNOUNCEMENT,
    MAX_ANSWER,
    MAX_REQUEST,
    BadFrame,
    FrameReader,
    after_announcement,
    pack,
)
from wherry_protocol.errors import BadRequest, ErrorReply, ProtocolError, from_reply
from wherry_protocol.events import (
    NEED_DATA,
    AnswerReceived,
    ConnectionClosed,
    ErrorReceived,
    Event,
    EventReceived,
    HelloReceived,
    NeedData,
    RequestReceived,
    RequestRefused,
)
from wherry_protocol.states import FROM_CLIENT, FROM_SERVER, Frame, Role, State, kind_of_frame, move
from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import FieldError, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wherry_protocol.call import Call
    from wherry_protocol.errors import WherryError
    from wherry_protocol.value import Value

__all__ = [
    "MAX_FDS", "NEED_DATA", "AnswerReceived", "Connection", "ConnectionClosed", "ErrorReceived", "Event",
    "EventReceived", "HelloReceived", "LocalProtocolError", "NeedData", "RemoteProtocolError",
    "RequestReceived", "RequestRefused", "Role",
]  # fmt: skip

_ABOUT_A_REQUEST = (Frame.EVENT, Frame.ANSWER, Frame.ERROR)

MAX_FDS = 16
"""Descriptors with one frame, far below the kernel's SCM_MAX_FD (253)."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; nothing more can be read from this connection."""


class LocalProtocolError(RuntimeError):
    """Our own side asked for something out of order; nothing was sent."""


class Connection:
    """One end of a control connection."""

    def __init__(self, role: Role) -> None:
        server = role is Role.SERVER
        self._our_moves = FROM_SERVER if server else FROM_CLIENT
        self._their_moves = FROM_CLIENT if server else FROM_SERVER
        self._ours = self._theirs = State.HELLO
        self._reader = FrameReader(MAX_REQUEST if server else MAX_ANSWER)
        self._fds: deque[int] = deque()
        self._ended = False
        self._broken = False
        self._last_id = 0
        self._settled = -1
        self.has_announced = False
        self._in_flight: dict[int, Call[Any] | None] = {}
        self._call_from_frame: Callable[[dict[Any, Any]], Call[Any]] | None = None

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answer."""
        return len(self._in_flight)

    @property
    def announced(self) -> bool:
        """Whether the peer has announced its next frame."""
        return self._reader.announced

    def receive_data(self, data: bytes, fds: Iterable[int] = ()) -> None:
        """Take in what arrived; b"" is the end of the stream."""
        self._fds.extend(fds)
        if data:
            self._reader.feed(data)
        else:
            self._ended = True

    def take_unclaimed_fds(self) -> list[int]:
        """Return the descriptors that no frame has claimed: the caller closes them."""
        unclaimed = [*self._fds]
        self._fds.clear()
        return unclaimed

    def next_event(self) -> Event | NeedData:
        """Return what happened next, or NEED_DATA. Raises RemoteProtocolError, now and ever after."""
        if self._broken:
            raise RemoteProtocolError("the connection is broken: the peer sent what it may not")
        try:
            return self._next_event()
        except (BadFrame, FieldError) as error:
            self._broken = True
            raise RemoteProtocolError(f"bad frame: {error}") from error

    def _next_event(self) -> Event | NeedData:
        while (frame := self._reader.next_frame()) is not None:
            event = self._frame_event(frame)
            if event is not None:
                return event
        if self._ended:
            return self._end()
        if self._fds and (not self._reader.inside_frame or len(self._fds) > MAX_FDS):
            raise BadFrame(f"{len(self._fds)} descriptors came without a frame that says so")
        return NEED_DATA

    def _end(self) -> ConnectionClosed:
        if self._reader.inside_frame and not self._reader.announced:
            raise BadFrame("the stream ended within a frame")
        if self._fds:
            raise BadFrame(f"{len(self._fds)} descriptors came without a frame that says so")
        if self._theirs is not State.CLOSED:
            self._theirs = move(self._their_moves, self._theirs, Frame.END)
        return ConnectionClosed()

    def _frame_event(self, frame: dict[Any, Any]) -> Event | None:
        kind = kind_of_frame(frame)
        self._theirs = move(self._their_moves, self._theirs, kind)
        if self._is_late(kind, frame):
            return None
        match kind:
            case Frame.HELLO:
                return self._hello(frame)
            case Frame.REQUEST:
                return self._request(frame)
            case Frame.EVENT:
                return self._event(frame)
            case Frame.ANSWER:
                return self._answer(frame)
            case _:
                return self._error(frame)

    def _hello(self, frame: dict[Any, Any]) -> HelloReceived:
        hello = HelloReceived.from_wire(
            {"protocol": frame.get("wherry"), "version": frame.get("version")}, "hello"
        )
        if hello.protocol != PROTOCOL_VERSION:
            self._broken = True
            raise RemoteProtocolError(
                f"the peer (version {hello.version:.20}) speaks protocol {hello.protocol}, "
                f"this side (version {SOFTWARE_VERSION}) speaks {PROTOCOL_VERSION}",
                hint="upgrade the older one",
            )
        return hello

    def _request(self, frame: dict[Any, Any]) -> RequestReceived | RequestRefused:
        if self._call_from_frame is None:
            from wherry_protocol.operations import call_from_frame  # a client never needs it

            self._call_from_frame = call_from_frame
        identity, fds = _identity(frame), self._claim(frame)
        if identity in self._in_flight:
            raise BadFrame(f"id {identity} is still in flight")
        self._in_flight[identity] = None
        try:
            return RequestReceived(id=identity, call=self._call_from_frame(frame), fds=fds)
        except BadRequest as error:
            return RequestRefused(id=identity, error=error, fds=fds)

    def _event(self, frame: dict[Any, Any]) -> EventReceived:
        identity, call = self._waiting(frame)
        kind = call.event_class(frame.get("event")) if isinstance(call, Stream) else None
        if kind is None:
            raise BadFrame(f"{call.op} has no event {frame.get('event')!r:.60}")
        value = kind.from_wire(frame.get("value"), kind.__name__, strict=False)
        return EventReceived(id=identity, event=value, fds=self._claim(frame))

    def _answer(self, frame: dict[Any, Any]) -> AnswerReceived:
        identity, call = self._waiting(frame)
        value = call.answer_from_wire(frame["ok"])
        del self._in_flight[identity]
        return AnswerReceived(id=identity, value=value, fds=self._claim(frame))

    def _error(self, frame: dict[Any, Any]) -> ErrorReceived:
        reply = ErrorReply.from_wire(frame["error"], "error", strict=False)
        identity = None
        if frame.get("id") is not None:
            identity, _call = self._waiting(frame)
            del self._in_flight[identity]
        return ErrorReceived(id=identity, error=from_reply(reply))

    def _waiting(self, frame: dict[Any, Any]) -> tuple[int, Call[Any]]:
        identity = _identity(frame)
        call = self._in_flight.get(identity)
        if call is None:
            raise BadFrame(f"id {identity}: no request with this id is in flight")
        return identity, call

    def _claim(self, frame: dict[Any, Any]) -> tuple[int, ...]:
        count = frame.get("fds", 0)
        if type(count) is not int or not 0 <= count <= MAX_FDS:
            raise BadFrame(f"fds: expected a number up to {MAX_FDS}")
        if count > len(self._fds):
            raise BadFrame(f"fds: {count} descriptors should have come along, {len(self._fds)} did")
        return tuple([self._fds.popleft() for _ in range(count)])

    def settle(self, identity: int) -> None:
        """Take note that a request has its answer by another way than this connection.

        What a server had sent about it before it knew is left out.
        """
        self._own(identity)
        del self._in_flight[identity]
        self._settled = identity

    def _is_late(self, kind: Frame, frame: dict[Any, Any]) -> bool:
        """Say whether a frame is about what was settled: ids grow, and what is settled had us to itself."""
        if kind not in _ABOUT_A_REQUEST or self._settled < 0:
            return False
        identity = _identity(frame)
        return identity <= self._settled and identity not in self._in_flight

    def send_hello(self) -> bytes:
        """Return the first bytes that each side sends."""
        return self._send(Frame.HELLO, {"wherry": PROTOCOL_VERSION, "version": SOFTWARE_VERSION})

    def send_announcement(self) -> bytes:
        """Return the first byte of the next request: it wakes the server meanwhile. b"" if that is out."""
        if self.has_announced or self._ours is not State.OPEN:
            return b""
        self.has_announced = True
        return ANNOUNCEMENT

    def send_request(self, call: Call[Any], *, fds: int = 0) -> tuple[int, bytes]:
        """Return the id that the answer will carry, and the bytes.

        Raises BadRequest if they are too many, or a number in them is too large.
        """
        identity = self._last_id + 1
        try:
            data = self._send(Frame.REQUEST, {"id": identity, "op": call.op, **call.to_wire()}, fds)
        except OverflowError:
            raise BadRequest(f"{call.op}: a number is out of range: 64 bits are the most") from None
        if len(data) > MAX_REQUEST:
            raise BadRequest(
                f"{call.op}: the request takes {len(data)} bytes, at most {MAX_REQUEST} are allowed"
            )
        self._last_id = identity
        self._in_flight[identity] = call
        if self.has_announced:
            self.has_announced, data = False, after_announcement(data)
        return identity, data

    def send_event(self, identity: int, event: Value, *, fds: int = 0) -> bytes:
        """Return the bytes that tell a stream's client of an event."""
        self._own(identity)
        frame = {"id": identity, "event": type(event).__name__, "value": event.to_wire()}
        return self._send(Frame.EVENT, frame, fds)

    def send_answer(self, identity: int, value: Any = None, *, fds: int = 0) -> bytes:
        """Return the bytes that end a request well."""
        self._own(identity)
        data = self._send(Frame.ANSWER, {"id": identity, "ok": plain(value)}, fds)
        del self._in_flight[identity]
        return data

    def send_error(self, identity: int | None, error: WherryError) -> bytes:
        """Return the bytes that end a request badly; without an id the connection, which we then close."""
        frame = {"id": identity, "error": error.to_reply().to_wire()}
        if identity is None:
            return self._send(Frame.REASON, frame)
        self._own(identity)
        del self._in_flight[identity]
        return self._send(Frame.ERROR, frame)

    def _own(self, identity: int) -> None:
        if identity not in self._in_flight:
            raise LocalProtocolError(f"no request with id {identity} is in flight")

    def _send(self, kind: Frame, frame: dict[str, Any], fds: int = 0) -> bytes:
        try:
            self._ours = move(self._our_moves, self._ours, kind)
        except BadFrame as error:
            raise LocalProtocolError(str(error)) from None
        if fds:
            frame["fds"] = fds
        return pack(frame)


def _identity(frame: dict[Any, Any]) -> int:
    identity = frame.get("id")
    if type(identity) is not int or not 0 <= identity < 1 << 63:
        raise BadFrame("id: expected a whole number from 0")
    return identity
