"""A page over HTTP/1.1, for a few scrapers at a time: h11 has the protocol, trio the sockets.

Owns what a client may cost: how many at once, how long each may take, how much it may say. Knows nothing of
what the page says.
"""

from __future__ import annotations

import ipaddress
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11
import trio

from wherry_protocol.errors import WherryError
from wherryd import journal, no_memory
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Page = Callable[[], Awaitable[tuple[str, bytes]]]

MAX_CLIENTS = 32
"""Connections at once; more wait in the backlog."""

IDLE_TIMEOUT = 90.0
"""Seconds between two requests of a connection: scrapers come once a minute, often less."""

SEND_TIMEOUT = 30.0
"""Seconds for a client to take its answer."""

ACCEPT_PAUSE = 0.1
"""Seconds to wait when a connection cannot be accepted: without descriptors it fails again at once."""

HANG_UP_TIMEOUT = 1.0
"""Seconds for a client that broke the protocol to hang up, too."""

MAX_HEAD = 16 << 10
"""Bytes of a request: a line and its headers."""

PATHS = ("/metrics", "/")
_READ = 16 << 10
_TEXT = "text/plain; charset=utf-8"


async def serve(listening: socket.socket, page: Page) -> None:
    """Answer requests until cancelled; `page` gives the content type and the text, or raises WherryError."""
    listening.setblocking(False)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    room = trio.Semaphore(MAX_CLIENTS)
    async with open_nursery() as nursery:
        while True:
            await room.acquire()
            stream = await _accept(listener)
            start_soon(nursery, _client, stream, page, room)


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError as error:
            journal.warning("no scraper accepted", error=error)
            await trio.sleep(ACCEPT_PAUSE)


async def _client(stream: trio.SocketStream, page: Page, room: trio.Semaphore) -> None:
    try:
        async with stream:
            await _Exchange(stream, page).run()
    except (trio.BrokenResourceError, trio.TooSlowError, OSError) as error:
        journal.debug("a scraper was cut off", error=error)
    except Exception as error:  # noqa: BLE001 - one scraper's defect must not end the others
        no_memory.ends_us(error)
        journal.defect("metrics request failed", error)
    finally:
        room.release()


class _Exchange:
    """One connection: request, answer, and so on."""

    def __init__(self, stream: trio.SocketStream, page: Page) -> None:
        self._stream = stream
        self._page = page
        # Names are only asked for where a page of another site could reach us: not by a path.
        self._by_port = stream.socket.family != socket.AF_UNIX
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self) -> None:
        """Serve until the client goes, errs or is idle for too long."""
        while True:
            try:
                with trio.fail_after(IDLE_TIMEOUT):
                    request = await self._request()
            except h11.RemoteProtocolError as error:
                said = f"{error}\n".encode()
                await self._send(error.error_status_hint, said, _TEXT, ("connection", "close"))
                await self._hang_up()
                return
            if request is None:
                return
            await self._answer(request)
            if self._connection.our_state is not h11.DONE:
                return
            self._connection.start_next_cycle()

    async def _request(self) -> h11.Request | None:
        """Read a request to its end; None when the client has gone. A body, which none needs, is an error."""
        request: h11.Request | None = None
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._stream.receive_some(_READ))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("a request for metrics has no body", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def _hang_up(self) -> None:
        """Let the client read the last words: closed with bytes unread, the kernel would take them back."""
        await self._stream.send_eof()
        with trio.move_on_after(HANG_UP_TIMEOUT):
            while await self._stream.receive_some(_READ):
                pass

    async def _answer(self, request: h11.Request) -> None:
        path = request.target.split(b"?")[0].decode("ascii", "replace")
        host = next((value for name, value in request.headers if name == b"host"), b"")
        if self._by_port and not is_local(host.decode("ascii", "replace")):
            await self._send(403, b"ask for localhost: that name may be another site's\n", _TEXT)
        elif path not in PATHS:
            await self._send(404, b"there is /metrics only\n", _TEXT)
        elif request.method not in (b"GET", b"HEAD"):
            await self._send(405, b"GET it\n", _TEXT, ("allow", "GET, HEAD"))
        else:
            await self._give(body=request.method == b"GET")

    async def _give(self, *, body: bool) -> None:
        try:
            kind, data = await self._page()
        except WherryError as error:
            await self._send(503, f"{error}\n".encode(), _TEXT)
        else:
            await self._send(200, data, kind, body=body)

    async def _send(
        self, status: int, data: bytes, kind: str, *headers: tuple[str, str], body: bool = True
    ) -> None:
        headers = (("content-type", kind), ("content-length", str(len(data))), *headers)
        send = self._connection.send
        if self._connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        reason = HTTPStatus(status).phrase
        out = send(h11.Response(status_code=status, reason=reason, headers=[*headers])) or b""
        if body:
            out += send(h11.Data(data=data)) or b""
        out += send(h11.EndOfMessage()) or b""
        with trio.fail_after(SEND_TIMEOUT):
            await self._stream.send_all(out)


def is_local(host: str) -> bool:
    """Say whether a Host header is an address or localhost: a web page can have us asked by another name."""
    name = host.removesuffix(f":{host.rpartition(':')[2]}") if not host.endswith("]") else host
    if name in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
