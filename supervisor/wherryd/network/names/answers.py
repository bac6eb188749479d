"""DNS messages in and out (dnslib): what a question asks, and how our answers to it look. Pure."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dnslib  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs] # it has no types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherryd.network.addresses import Address

_dns: Any = dnslib

TTL = 5
"""Seconds that a container may believe a neighbour's address: they come and go."""

PLAIN_SIZE = 512
"""Bytes of an answer over UDP to who says nothing of bigger ones (RFC 1035, 4.2.1)."""

BIGGEST_SIZE = 4096
QUESTION_MAX, MORE_MAX = 1024, b"\0\2"
"""Bytes of a question, and what may follow it: EDNS (RFC 6891) and a signature (RFC 8945)."""

TURNS = 32
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
_IN = 1
_TYPES = {1: 4, 28: 6}
"""A and AAAA: the version of IP that they are about."""

PTR = 12
_RECORD = struct.Struct("!HHHIH")
_QUESTION_NAME = 0xC00C
"""What stands for a name that is the question's (RFC 1035, 4.1.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a message asks. `name`: lower case, no dot at its end; `size`: what fits an answer by UDP."""

    record: Any
    number: int
    name: str
    kind: int
    size: int

    @property
    def version(self) -> int | None:
        """The version of IP whose addresses are asked for."""
        return _TYPES.get(self.kind)

    @property
    def key(self) -> tuple[str, int, bytes]:
        """What makes two questions the same one."""
        flags = bytes(self.record.pack()[2:4])
        return self.name, self.kind, flags


def parse(data: bytes) -> Question | None:
    """Return the question of a message; None for what is none, or more than one."""
    # The library reads whatever there is, and takes milliseconds for some hundred records.
    if len(data) > QUESTION_MAX or data[6:10] != bytes(4) or data[10:12] > MORE_MAX:
        return None
    try:
        record = _dns.DNSRecord.parse(data)
    except Exception:  # noqa: BLE001 - whatever a container sent: it gets no answer
        return None
    if record.header.qr or len(record.questions) != 1 or record.q.qclass != _IN:
        return None
    sizes = [each.rclass for each in record.ar if each.rtype == _dns.QTYPE.OPT]
    size = min(max([PLAIN_SIZE, *sizes]), BIGGEST_SIZE)
    name = str(record.q.qname).rstrip(".").lower()
    return Question(record=record, number=record.header.id, name=name, kind=record.q.qtype, size=size)


def with_addresses(question: Question, addresses: Sequence[Address]) -> list[bytes]:
    """Return answers with those addresses that were asked for: one with each of them as the first.

    Of more than TURNS one answer, each time with another one as the first.
    """
    head = _packed(_reply(question))
    found = [each.packed for each in addresses if each.version == question.version]
    records = [_RECORD.pack(_QUESTION_NAME, question.kind, _IN, TTL, len(each)) + each for each in found]
    head = head[:6] + len(records).to_bytes(2, "big") + head[8:]
    turns = range(max(len(records), 1)) if len(records) <= TURNS else [random.randrange(len(records))]  # noqa: S311 - nobody gains by a guess
    return [head + b"".join(records[first:] + records[:first]) for first in turns]


def with_name(question: Question, name: str) -> bytes:
    """Return the answer to a PTR question."""
    reply = _reply(question)
    reply.add_answer(_dns.RR(question.record.q.qname, PTR, rdata=_dns.PTR(name), ttl=TTL))
    return _packed(reply)


def refusal(question: Question, code: int) -> bytes:
    """Return an answer that says no more than a code."""
    reply = _reply(question)
    reply.header.rcode = code
    return _packed(reply)


def truncated(question: Question) -> bytes:
    """Return the answer that says: ask again, by TCP."""
    reply = _reply(question)
    reply.header.tc = 1
    return _packed(reply)


def seconds_to_keep(data: bytes, longest: int) -> int:
    """Return for how many seconds an answer from outside holds: its records' lowest TTL (RFC 2308).

    Zero for what shall not be kept: failures, and what is cut short.
    """
    try:
        record = _dns.DNSRecord.parse(data)
    except Exception:  # noqa: BLE001 - dnslib does not know every record: then the answer is only passed on
        return 0
    if record.header.tc or record.header.rcode not in (0, NXDOMAIN):
        return 0
    lives = [each.ttl for each in (*record.rr, *record.auth)]
    return min([longest, *lives]) if lives else 0


def matches(question: Question, data: bytes, number: int) -> bool:
    """Say whether a message is an answer to this question, which went out as `number`."""
    if len(data) < 12 or int.from_bytes(data[:2], "big") != number or not data[2] & 0x80:  # noqa: PLR2004
        return False
    asked = question.record.pack()
    end = _question_end(asked)
    return bool(data[12:end].lower() == asked[12:end].lower())


def renumbered(data: bytes, number: int) -> bytes:
    """Return a message with another id."""
    return number.to_bytes(2, "big") + data[2:]


def _question_end(data: bytes) -> int:
    at = 12
    while data[at]:
        at += data[at] + 1
    return at + 5


def _reply(question: Question) -> Any:
    reply = question.record.reply(ra=1, aa=0)
    reply.rr.clear()
    return reply


def _packed(reply: Any) -> bytes:
    data: bytes = bytes(reply.pack())
    return data
