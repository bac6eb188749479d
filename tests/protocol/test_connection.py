"""The protocol's state machine: any cut of the bytes, any garbage, any order."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry_protocol.codec import MAX_DEPTH, MAX_REQUEST, pack
from wherry_protocol.connection import (
    MAX_FDS,
    NEED_DATA,
    AnswerReceived,
    Connection,
    ConnectionClosed,
    ErrorReceived,
    EventReceived,
    HelloReceived,
    LocalProtocolError,
    RemoteProtocolError,
    RequestReceived,
    RequestRefused,
    Role,
)
from wherry_protocol.container_state import ExitStatus
from wherry_protocol.containers import Kill, Logs, Output, RunAttached, Started, Stop, Wait
from wherry_protocol.errors import BadRequest, NotFound, UnknownOperation
from wherry_protocol.run_spec import RunSpec
from wherry_protocol.system import Ping, Pong

SPEC = RunSpec(image="host", command=("echo", "caf\udce9"), env={"A": "1"}, tty_size=(24, 80))


def events_of(connection: Connection) -> list[Any]:
    """Everything that can be had now."""
    found: list[Any] = []
    while (event := connection.next_event()) is not NEED_DATA:
        found.append(event)
        if isinstance(event, ConnectionClosed):
            break
    return found


def opened() -> tuple[Connection, Connection]:
    """A client and a server that have greeted each other."""
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    server.receive_data(client.send_hello())
    client.receive_data(server.send_hello())
    assert isinstance(server.next_event(), HelloReceived)
    assert isinstance(client.next_event(), HelloReceived)
    return client, server


def frame(**fields: Any) -> bytes:
    return pack(fields)


def hello() -> bytes:
    return Connection(Role.CLIENT).send_hello()


def client_bytes() -> bytes:
    client = Connection(Role.CLIENT)
    calls = (Ping(), RunAttached(spec=SPEC), Stop(ref="web", timeout=1.5))
    return client.send_hello() + b"".join(client.send_request(call)[1] for call in calls)


def server_conversation() -> tuple[Connection, bytes]:
    """A client with two requests on their way, and all that the server says to them."""
    client, server = opened()
    first, data = client.send_request(RunAttached(spec=SPEC))
    second, more = client.send_request(Wait(ref="x"))
    server.receive_data(data + more)
    assert len(events_of(server)) == 2
    said = [
        server.send_event(first, Started(id="ab", name="n")),
        server.send_event(first, Output(stream=2, time=5, data=b"\x00\xff")),
        server.send_error(second, NotFound("no such container")),
        server.send_answer(first, ExitStatus(signal=9, oom_killed=True)),
    ]
    return client, b"".join(said)


def test_every_split_of_the_clients_bytes_gives_the_same_requests() -> None:
    """The kernel cuts a stream where it likes."""
    data = client_bytes()
    for cut in range(len(data) + 1):
        server = Connection(Role.SERVER)
        events: list[Any] = []
        for part in (data[:cut], data[cut:]):
            if part:
                server.receive_data(part)
                events += events_of(server)
        calls = [event.call for event in events[1:]]
        assert calls == [Ping(), RunAttached(spec=SPEC), Stop(ref="web", timeout=1.5)], f"cut at {cut}"


def test_every_split_of_the_servers_bytes_gives_the_same_events() -> None:
    """Byte by byte, and cut at each place."""
    for cut in range(1, len(server_conversation()[1])):
        client, data = server_conversation()
        events: list[Any] = []
        for part in (data[:cut], data[cut:]):
            client.receive_data(part)
            events += events_of(client)
        assert [type(event) for event in events] == [
            EventReceived,
            EventReceived,
            ErrorReceived,
            AnswerReceived,
        ]
        assert events[1].event.data == b"\x00\xff"
        assert isinstance(events[2].error, NotFound)
        assert events[3].value == ExitStatus(signal=9, oom_killed=True)


@given(st.lists(st.integers(1, 400), max_size=30))
def test_any_number_of_cuts_gives_the_same_requests(cuts: list[int]) -> None:
    data, server = client_bytes(), Connection(Role.SERVER)
    calls: list[Any] = []
    for size in [*cuts, len(data)]:
        part, data = data[:size], data[size:]
        if part:
            server.receive_data(part)
            calls += [event.call for event in events_of(server) if isinstance(event, RequestReceived)]
    assert calls == [Ping(), RunAttached(spec=SPEC), Stop(ref="web", timeout=1.5)]


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"op": "dance"}, UnknownOperation, "op: there is no operation 'dance'"),
        ({"op": 5}, BadRequest, "op: expected the name of an operation"),
        ({"op": "stop"}, BadRequest, "stop: ref: missing"),
        ({"op": "stop", "ref": 7}, BadRequest, "stop: ref: expected a string"),
        ({"op": "stop", "ref": "x", "speed": 1}, BadRequest, "stop: speed: Stop has no such field"),
        ({"op": "run", "spec": {"image": "x", "env": []}}, BadRequest, "run: spec.env: expected a map"),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_the_connection_lives_on(
    fields: dict[str, Any], error: type[BadRequest], text: str
) -> None:
    _client, server = opened()
    server.receive_data(frame(id=1, **fields) + frame(id=2, op="ping"))
    refused, ping = events_of(server)
    assert isinstance(refused, RequestRefused)
    assert type(refused.error) is error
    assert str(refused.error).startswith(text)
    assert server.send_error(refused.id, refused.error)
    assert isinstance(ping, RequestReceived)


DEEP = frame(id=1, op="ping", x=None)[:-1] + b"\x91" * MAX_DEPTH + b"\xc0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1", "not msgpack"),
        (b"GET / HTTP/1.1\r\n\r\n", "not a map"),
        (msgpack.packb([1, 2]), "not a map"),
        (frame(id=1), "neither hello, request"),
        (frame(op="ping"), "id: expected a whole number"),
        (frame(id=-1, op="ping"), "id: expected a whole number"),
        (frame(id=True, op="ping"), "id: expected a whole number"),
        (frame(id=1, op="ping", fds=1), "1 descriptors should have come along, 0 did"),
        (frame(id=1, op="ping", fds=-1), "fds: expected a number"),
        (frame(id=1, op="ping", fds=MAX_FDS + 1), "fds: expected a number"),
        (hello(), "hello is not allowed"),
        (frame(id=1, ok=None), "answer is not allowed"),
        (b"\x81\x91\xc0\xc0", "not msgpack"),
        (b"\x81\xa1x\xd4\x05\x00", "extension type 5"),
        (b"\x81\xa1x\xdd\xff\xff\xff\xff", "not msgpack"),
        (DEEP, "deeper than 32"),
        (b"\x81\xa1x" + b"\x91" * 2000, "not msgpack"),
    ],
)
def test_garbage_breaks_the_connection_with_a_reason(data: bytes, reason: str) -> None:
    """A server that reads nonsense says what was wrong and never reads on."""
    _client, server = opened()
    server.receive_data(data)
    with pytest.raises(RemoteProtocolError, match=reason):
        events_of(server)
    server.receive_data(frame(id=9, op="ping"))
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.send_error(None, BadRequest("why"))


@given(st.binary(min_size=1, max_size=300))
def test_random_bytes_never_do_more_than_break_the_connection(data: bytes) -> None:
    _client, server = opened()
    server.receive_data(data)
    with suppress(RemoteProtocolError):
        assert not [event for event in events_of(server) if isinstance(event, RequestReceived)]


def test_a_depth_at_the_limit_is_a_frame() -> None:
    """The limit refuses what is over it, not what is at it."""
    _client, server = opened()
    value: Any = None
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    server.receive_data(frame(id=1, op="ping", x=value))
    assert isinstance(server.next_event(), RequestRefused)


def test_a_frame_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    """Exact, however the bytes were cut, and never truncated and obeyed."""
    for extra, cut in [(0, 1 << 16), (0, 1 << 30), (1, 1 << 16), (1, 1 << 30), (200_000, 4096)]:
        room = MAX_REQUEST - len(frame(id=1, op="kill", ref="", signal="x" * 70000)) + extra
        data = frame(id=1, op="kill", ref="y" * (room - 4), signal="x" * 70000)
        assert len(data) - MAX_REQUEST == extra
        _client, server = opened()
        if extra:
            with pytest.raises(RemoteProtocolError, match="larger than 1048576 bytes"):
                feed(server, data, cut)
        else:
            (request,) = feed(server, data, cut)
            assert request.call == Kill(ref="y" * (room - 4), signal="x" * 70000)


def feed(connection: Connection, data: bytes, size: int) -> list[Any]:
    events: list[Any] = []
    for start in range(0, len(data), size):
        connection.receive_data(data[start : start + size])
        events += events_of(connection)
    return events


def test_an_endless_frame_takes_no_more_memory_than_the_limit() -> None:
    """A peer that never ends its frame is cut off at the limit, not at the machine's memory."""
    _client, server = opened()
    flood = b"\xa8abcdefgh" * 4_000_000
    tracemalloc.start()
    server.receive_data(b"\x81\xa1x\xdd\x00\x01\xff\xff")
    with pytest.raises(RemoteProtocolError, match="larger"):
        feed(server, flood, 36_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MAX_REQUEST


def test_a_header_that_lies_about_its_length_is_cut_off_at_the_limit() -> None:
    """4 GiB announced: not a byte over the limit is taken."""
    _client, server = opened()
    server.receive_data(b"\x81\xa1x\xc6\xff\xff\xff\xff")
    assert server.next_event() is NEED_DATA
    server.receive_data(bytes(MAX_REQUEST))
    with pytest.raises(RemoteProtocolError, match="larger"):
        server.next_event()


def test_nested_headers_that_lie_cost_nothing() -> None:
    """A few bytes that announce lists in lists must not make the reader allocate for them."""
    _client, server = opened()
    tracemalloc.start()
    server.receive_data(b"\x81\xa1x" + b"\xdd\x00\x00\xff\xff" * 40)
    events_of(server)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_client_may_not_ask_before_its_hello_but_with_it() -> None:
    """No round trip for the greeting; no request without one."""
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    with pytest.raises(LocalProtocolError, match="request is not allowed before its hello"):
        client.send_request(Ping())
    server.receive_data(client.send_hello() + client.send_request(Ping())[1])
    assert [type(event) for event in events_of(server)] == [HelloReceived, RequestReceived]
    with pytest.raises(LocalProtocolError, match="before its hello"):
        server.send_answer(1, Pong(pid=1))


def test_another_protocol_version_is_refused_with_advice() -> None:
    server = Connection(Role.SERVER)
    server.receive_data(frame(wherry=2, version="9.0"))
    with pytest.raises(RemoteProtocolError, match=r"speaks protocol 2.*speaks 1.*upgrade the older"):
        server.next_event()


def test_a_server_says_why_it_hangs_up_even_before_its_hello() -> None:
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    client.send_hello()
    client.receive_data(server.send_error(None, BadRequest("uid 7 may not")))
    client.receive_data(b"")
    reason, closed = events_of(client)
    assert (reason.id, str(reason.error)) == (None, "uid 7 may not")
    assert isinstance(closed, ConnectionClosed)


def test_descriptors_go_to_the_frame_that_claims_them() -> None:
    """Two frames in one read: each gets its own."""
    client, server = opened()
    identity, data = client.send_request(RunAttached(spec=SPEC))
    server.receive_data(data)
    assert isinstance(server.next_event(), RequestReceived)
    started, output = Started(id="a", name="b"), Output(stream=1, time=0, data=b"")
    both = server.send_event(identity, output) + server.send_event(identity, started, fds=2)
    client.receive_data(both, [70, 71])
    assert [event.fds for event in events_of(client)] == [(), (70, 71)]
    assert client.take_unclaimed_fds() == []


def test_descriptors_that_nobody_claims_are_an_error_and_are_given_back() -> None:
    """They would fill the receiver's table: the adapter closes them."""
    _client, server = opened()
    server.receive_data(frame(id=1, op="ping"), [50, 51])
    assert isinstance(server.next_event(), RequestReceived)
    with pytest.raises(RemoteProtocolError, match="2 descriptors came without a frame"):
        server.next_event()
    assert server.take_unclaimed_fds() == [50, 51]
    assert server.take_unclaimed_fds() == []


def test_descriptors_wait_for_the_rest_of_their_frame() -> None:
    _client, server = opened()
    data = frame(id=1, op="ping", fds=1)
    server.receive_data(data[:5], [60])
    assert server.next_event() is NEED_DATA
    server.receive_data(data[5:])
    request = server.next_event()
    assert isinstance(request, RequestReceived)
    assert request.fds == (60,)


def test_an_end_between_frames_is_an_event_and_within_one_an_error() -> None:
    _client, server = opened()
    server.receive_data(b"")
    assert isinstance(server.next_event(), ConnectionClosed)
    _client, server = opened()
    server.receive_data(frame(id=1, op="ping")[:-1])
    server.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="ended within a frame"):
        server.next_event()


def test_an_id_in_flight_cannot_be_used_twice_and_is_free_after_the_answer() -> None:
    _client, server = opened()
    server.receive_data(frame(id=5, op="ping"))
    assert isinstance(server.next_event(), RequestReceived)
    assert server.in_flight == 1
    server.send_answer(5, Pong(pid=1))
    server.receive_data(frame(id=5, op="ping") * 2)
    assert isinstance(server.next_event(), RequestReceived)
    with pytest.raises(RemoteProtocolError, match="id 5 is still in flight"):
        server.next_event()


def test_a_server_answers_only_what_was_asked() -> None:
    _client, server = opened()
    for send in (server.send_answer, server.send_event):
        with pytest.raises(LocalProtocolError, match="no request with id 3"):
            send(3, Started(id="a", name="b"))


@pytest.mark.parametrize(
    "data",
    [
        frame(id=99, ok=None),
        frame(id=1, event="Nonsense", value={}),
        frame(id=1, event="Output", value={"stream": "x"}),
        frame(id=1, ok=5),
        frame(id=1, op="ping"),
    ],
)
def test_a_client_distrusts_what_it_did_not_ask_for(data: bytes) -> None:
    client, _server = opened()
    client.send_request(Logs(ref="x"))
    client.receive_data(data)
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_a_request_over_the_limit_is_refused_before_it_is_sent() -> None:
    client, _server = opened()
    with pytest.raises(BadRequest, match="at most 1048576 are allowed"):
        client.send_request(Stop(ref="x" * MAX_REQUEST))
    assert client.in_flight == 0


@pytest.mark.alone
def test_a_small_request_is_understood_within_30_microseconds() -> None:
    """The best of several rounds: the figure is the code's, not the neighbours'."""
    client, server = opened()
    rounds = []
    for _ in range(7):
        data = [client.send_request(Stop(ref="web", timeout=3.0))[1] for _ in range(500)]
        start = time.perf_counter()
        for each in data:
            server.receive_data(each)
            server.next_event()
        rounds.append((time.perf_counter() - start) / len(data))
    assert min(rounds) < 30e-6


def test_what_is_settled_elsewhere_gets_no_answer_and_its_late_words_are_left_out() -> None:
    client, server = opened()
    identity, data = client.send_request(RunAttached(spec=SPEC))
    server.receive_data(data)
    (request,) = events_of(server)
    early = server.send_event(request.id, Started(id="1" * 64, name="web"))
    client.settle(identity)
    assert client.in_flight == 0
    client.receive_data(early)
    assert events_of(client) == [], "a word of what was settled came through"
    server.settle(request.id)
    with pytest.raises(LocalProtocolError):
        server.send_answer(request.id, None)
    following, data = client.send_request(Ping())
    server.receive_data(data)
    (request,) = events_of(server)
    client.receive_data(server.send_answer(request.id, Pong(pid=7)))
    (answer,) = events_of(client)
    assert (answer.id, answer.value) == (following, Pong(pid=7))
    with pytest.raises(LocalProtocolError):
        client.settle(following)


@pytest.mark.parametrize("call", [Ping(), RunAttached(spec=SPEC), Kill(ref="web", signal="TERM")])
def test_an_announced_request_is_the_same_request(call: Any) -> None:
    """Whichever it is: what was announced may have been given up."""
    client, server = opened()
    assert not server.announced
    server.receive_data(client.send_announcement())
    assert client.send_announcement() == b"", "announced twice"
    assert events_of(server) == []
    assert server.announced
    for _ in range(2):
        server.receive_data(client.send_request(call)[1])
        (request,) = events_of(server)
        assert request.call == call
        assert not server.announced
    server.receive_data(client.send_announcement())
    server.receive_data(b"")
    assert events_of(server) == [ConnectionClosed()], "an announcement is no promise"
