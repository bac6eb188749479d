"""Questions about names that are not ours: asked of the host's name servers, kept as long as they hold.

Owns the cache and how many questions are under way. Must never hold an asker up for longer than LIMIT.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, OrderedDict
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

import trio

from wherryd.network.hosts import name_servers
from wherryd.network.names import answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherryd.network.names.answers import Question

RESOLV_CONF = "/etc/resolv.conf"
PORT = 53
TRY = 2.0
"""Seconds for one server's answer."""

LIMIT = 8.0
"""Seconds for all tries: an asker gives up by then."""

ROUNDS = 2
KEPT = 1024
"""Answers in the cache."""

LONGEST = 300
"""Seconds that an answer is kept at most."""

UNDER_WAY, UNDER_WAY_EACH = 512, 96
"""Questions under way, of all containers together and of one; more are refused at once."""

_MESSAGE_MAX = 65535


class Answer(NamedTuple):
    """A message, and until when it holds, on the event loop's clock: 0 is for this once only."""

    data: bytes
    until: float = 0.0


class Forwarder:
    """Asks on behalf of containers."""

    def __init__(self) -> None:
        self._cache: OrderedDict[tuple[object, ...], Answer] = OrderedDict()
        self._servers: tuple[str, ...] = ()
        self._read_at: tuple[int, int] | None = None
        self._under_way: Counter[str] = Counter()

    def answer_nowait(
        self, question: Question, servers: Sequence[str], *, asker: str, tcp: bool
    ) -> Answer | None:
        """Return an answer that is kept, or a refusal to ask for one more; None if somebody has to be asked.

        No `servers` are the host's.
        """
        kept = self._kept(self._key(question, servers, tcp=tcp))
        if kept is not None:
            return Answer(answers.renumbered(kept.data, question.number), kept.until)
        if self._under_way[asker] >= UNDER_WAY_EACH or self._under_way.total() >= UNDER_WAY:
            return Answer(answers.refusal(question, answers.SERVFAIL))
        return None

    async def ask(
        self, question: Question, data: bytes, servers: Sequence[str], *, asker: str, tcp: bool
    ) -> Answer:
        """Return the answer to a message, with its id."""
        known = self.answer_nowait(question, servers, asker=asker, tcp=tcp)
        if known is not None:
            return known
        self._under_way[asker] += 1
        try:
            found = await _ask_all(question, data, servers or self._host_servers(), tcp=tcp)
        finally:
            self._under_way -= Counter({asker: 1})  # none is left of who has none
        if found is None:
            return Answer(answers.refusal(question, answers.SERVFAIL))
        until = self._keep(self._key(question, servers, tcp=tcp), found)
        return Answer(answers.renumbered(found, question.number), until)

    def _key(self, question: Question, servers: Sequence[str], *, tcp: bool) -> tuple[object, ...]:
        return question.key, tcp, tuple(servers or self._host_servers())

    def _kept(self, key: tuple[object, ...]) -> Answer | None:
        kept = self._cache.get(key)
        if kept is not None and kept.until > trio.current_time():
            self._cache.move_to_end(key)
            return kept
        self._cache.pop(key, None)
        return None

    def _keep(self, key: tuple[object, ...], found: bytes) -> float:
        seconds = answers.seconds_to_keep(found, LONGEST)
        if not seconds or len(found) > answers.BIGGEST_SIZE:
            return 0.0
        until = trio.current_time() + seconds
        self._cache[key] = Answer(found, until)
        if len(self._cache) > KEPT:
            self._cache.popitem(last=False)
        return until

    def _host_servers(self) -> tuple[str, ...]:
        """Return the host's name servers, read again when the file has changed."""
        try:
            status = os.stat(RESOLV_CONF)
        except OSError:
            return ()
        now = (status.st_mtime_ns, status.st_ino)
        if now != self._read_at:
            with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
                self._servers = tuple(filter(_is_address, name_servers(file.read())))
            self._read_at = now
        return self._servers


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


async def _ask_all(question: Question, data: bytes, servers: Sequence[str], *, tcp: bool) -> bytes | None:
    """Return the first answer that some server gives; a failure is one when none has a better."""
    ask = _by_tcp if tcp else _by_udp
    worst: bytes | None = None
    with trio.move_on_after(LIMIT):
        for server in (*servers,) * ROUNDS:
            with trio.move_on_after(TRY):
                try:
                    found = await ask(question, data, server)
                except OSError:
                    continue  # it does not listen, or cannot be reached: the next one may
                if found[3] & 0x0F not in (answers.SERVFAIL, answers.REFUSED):
                    return found
                worst = found
    return worst


async def _by_udp(question: Question, data: bytes, server: str) -> bytes:
    """Ask by a socket of this question's own: its port and the id are for nobody to guess (RFC 5452)."""
    number = secrets.randbits(16)
    family = trio.socket.AF_INET6 if ":" in server else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        await sock.connect((server, PORT))
        await sock.send(answers.renumbered(data, number))
        while True:
            found = await sock.recv(_MESSAGE_MAX)
            if answers.matches(question, found, number):
                return found


async def _by_tcp(question: Question, data: bytes, server: str) -> bytes:
    number = secrets.randbits(16)
    stream = await trio.open_tcp_stream(server, PORT)
    async with stream:
        asked = answers.renumbered(data, number)
        await stream.send_all(len(asked).to_bytes(2, "big") + asked)
        found = await receive_message(stream)
    if found is None or not answers.matches(question, found, number):
        raise ConnectionError(f"{server} did not answer what it was asked")
    return found


async def receive_message(stream: trio.SocketStream) -> bytes | None:
    """Return the next message of a stream (RFC 1035, 4.2.2), None at its end."""
    head = await _exactly(stream, 2)
    return None if head is None else await _exactly(stream, int.from_bytes(head, "big"))


async def _exactly(stream: trio.SocketStream, count: int) -> bytes | None:
    found = bytearray()
    while len(found) < count:
        data = await stream.receive_some(count - len(found))
        if not data:
            return None
        found += data
    return bytes(found)
