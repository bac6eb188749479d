"""What one network's name server replies, and what it has replied before.

Programs without a cache ask the same question, byte for byte, for every connection that they make: that one
is read and answered once, and then looked up, until somebody comes or goes. Owns what it has replied. Must
never reply what was true before.
"""

from __future__ import annotations

import random
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import trio

from wherryd.network.names import answers, zone

if TYPE_CHECKING:
    from wherryd.network.model import Network
    from wherryd.network.names.answers import Question
    from wherryd.network.names.forward import Answer, Forwarder
    from wherryd.network.names.zone import View, Zones

SAID_MAX = 4096
"""Replies that are known."""

LONG = 512
"""Bytes of a question or a reply that is not kept: there is room for all the others."""


class _Said(NamedTuple):
    """Replies to one question, without their ids, all as good; and until when."""

    until: float
    replies: list[bytes]


class Replies:
    """Those of `network`'s name server. Between two calls of `look` nobody may come or go."""

    def __init__(self, network: Network, *, zones: Zones, forwarder: Forwarder) -> None:
        self._network = network
        self._zones = zones
        self._zone = zones.now()
        self._forwarder = forwarder
        self._said: dict[tuple[str, bool, bytes], _Said] = {}
        self._count = 0

    def look(self) -> None:
        """See who is there now."""
        now = self._zones.now()
        if now is not self._zone:
            self._zone = now
            self._forget()

    def again(self, data: bytes, source: str, *, tcp: bool) -> bytes | None:
        """Return the reply to a message that was replied to before; None if it has to be read."""
        said = self._said.get((source, tcp, data[2:]))
        if said is None or said.until < trio.current_time():
            return None
        return data[:2] + _one_of(said.replies)

    def reply_nowait(self, question: Question, data: bytes, source: str, *, tcp: bool) -> bytes | None:
        """Return the reply that can be given at once; None when somebody has to be asked."""
        view = self._zone.view_of(self._network, source)
        own = self._own(question, view)
        if own is not None:
            own = [_fitted(question, each, tcp=tcp) for each in own]
            self._keep((source, tcp, data[2:]), own, inf)
            return _one_of(own)
        answer = self._forwarder.answer_nowait(question, _servers(view), asker=source, tcp=tcp)
        return None if answer is None else self._pass_on(question, data, answer, source, tcp=tcp)

    async def forward(self, question: Question, data: bytes, source: str, *, tcp: bool) -> bytes:
        """Return what others reply."""
        here = self._zone
        servers = _servers(here.view_of(self._network, source))
        answer = await self._forwarder.ask(question, data, servers, asker=source, tcp=tcp)
        self.look()
        if here is not self._zone:  # the name may be somebody's of ours by now
            return _fitted(question, answer.data, tcp=tcp)
        return self._pass_on(question, data, answer, source, tcp=tcp)

    def _pass_on(self, question: Question, data: bytes, answer: Answer, source: str, *, tcp: bool) -> bytes:
        reply = _fitted(question, answer.data, tcp=tcp)
        # Not for as long as it holds: the host may have other name servers tomorrow.
        until = min(answer.until, trio.current_time() + answers.TTL)
        self._keep((source, tcp, data[2:]), [reply], until)
        return reply

    def _keep(self, key: tuple[str, bool, bytes], replies: list[bytes], until: float) -> None:
        if len(key[2]) > LONG or len(replies[0]) > LONG or until < trio.current_time():
            return
        if self._count >= SAID_MAX:
            self._forget()
        self._count += len(replies)
        self._said[key] = _Said(until, [each[2:] for each in replies])

    def _forget(self) -> None:
        self._said.clear()
        self._count = 0

    def _own(self, question: Question, view: View | None) -> list[bytes] | None:
        if view is None:
            return [answers.refusal(question, answers.REFUSED)]
        if question.kind == answers.PTR:
            return self._reverse(question, view)
        found = self._zone.addresses_of(view, question.name)
        if found is not None:
            return answers.with_addresses(question, found)
        return None if view.outside else [answers.refusal(question, answers.NXDOMAIN)]

    def _reverse(self, question: Question, view: View) -> list[bytes] | None:
        address = zone.address_from_arpa(question.name)
        name = self._zone.name_of(view, address) if address is not None else None
        if name is not None:
            return [answers.with_name(question, name)]
        if not view.outside or (address is not None and zone.is_ours(view, address)):
            return [answers.refusal(question, answers.NXDOMAIN)]
        return None


def _servers(view: View | None) -> tuple[str, ...]:
    return () if view is None else view.container.config.spec.dns


def _one_of(replies: list[bytes]) -> bytes:
    return replies[0] if len(replies) == 1 else random.choice(replies)  # noqa: S311 - nobody gains by a guess


def _fitted(question: Question, reply: bytes, *, tcp: bool) -> bytes:
    """Return the reply; one that is bigger than the asker can take has to be asked for by TCP."""
    return reply if tcp or len(reply) <= question.size else answers.truncated(question)
