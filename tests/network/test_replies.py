"""What a name server has replied is replied again only while it is true."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import dnslib  # type: ignore[import-untyped]
import trio

from wherryd.network.names import answers
from wherryd.network.names.forward import Answer
from wherryd.network.names.replies import SAID_MAX, Replies
from wherryd.network.names.zone import Zone

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.network.names.answers import Question

ASKER = "10.0.0.2"


class Outside:
    """A forwarder whose answer holds for a minute; `meanwhile` happens before it comes."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    async def ask(self, question: Question, *_: object, **__: object) -> Answer:
        self._meanwhile()
        return Answer(answers.refusal(question, answers.NXDOMAIN), trio.current_time() + 60)


class Everybody:
    """Zones of which the one that is now changes on demand."""

    def __init__(self) -> None:
        self._now = Zone((), ())

    def now(self) -> Zone:
        return self._now

    def change(self) -> None:
        self._now = Zone((), ())


def message(name: str) -> tuple[bytes, Question]:
    data = bytes(dnslib.DNSRecord.question(name).pack())
    question = answers.parse(data)
    assert question is not None
    return data, question


def replies(zones: Everybody, meanwhile: Callable[[], object]) -> Replies:
    network = cast("Any", SimpleNamespace(id="lan"))
    return Replies(network, zones=cast("Any", zones), forwarder=cast("Any", Outside(meanwhile)))


async def test_what_others_say_of_a_name_that_is_ours_by_then_is_not_kept() -> None:
    zones = Everybody()
    data, question = message("web")
    for meanwhile, kept in ((lambda: None, True), (zones.change, False)):
        made = replies(zones, meanwhile)
        reply = await made.forward(question, data, ASKER, tcp=False)
        assert made.again(data, ASKER, tcp=False) == (reply if kept else None)


async def test_what_was_said_is_the_askers_alone_and_until_somebody_comes() -> None:
    zones = Everybody()
    made = replies(zones, lambda: None)
    data, question = message("web")
    reply = made.reply_nowait(question, data, ASKER, tcp=False)
    assert reply is not None
    assert made.again(b"\1\2" + data[2:], ASKER, tcp=False) == b"\1\2" + reply[2:], "the asker's id"
    assert made.again(data, "10.0.0.3", tcp=False) is None
    assert made.again(data, ASKER, tcp=True) is None
    zones.change()
    made.look()
    assert made.again(data, ASKER, tcp=False) is None


async def test_what_was_said_is_bounded() -> None:
    made = replies(Everybody(), lambda: None)
    for number in range(SAID_MAX + 10):
        data, question = message(f"n{number}")
        made.reply_nowait(question, data, ASKER, tcp=False)
    known = sum(made.again(message(f"n{each}")[0], ASKER, tcp=False) is not None for each in range(SAID_MAX))
    assert known < 10
    assert made.again(data, ASKER, tcp=False) is not None


def test_a_question_that_takes_long_to_read_is_none() -> None:
    """Some hundred records, which no question has, take the library milliseconds."""
    data, _ = message("web")
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4abcd"
    for count in (b"\0\0\0\0\0\x20", b"\0\x20\0\0\0\0", b"\0\0\0\x20\0\0"):
        assert answers.parse(data[:6] + count + data[12:] + record * 32) is None
    assert answers.parse(data + bytes(answers.QUESTION_MAX)) is None
