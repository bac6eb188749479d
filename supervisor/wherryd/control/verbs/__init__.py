"""What each operation means: one function per request, a module a noun. No sockets, no syscalls, no state.

A function takes the context and the request, and returns the answer's value; a stream's function also takes
the emitter for its events, which has the descriptors that rode along. One that is no coroutine but begins
something, in no more than a step of the event loop, takes a reply instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import InternalError
from wherryd.control.verbs import (
    again,
    containers,
    event_log,
    files,
    health,
    housekeeping,
    images,
    networks,
    processes,
    reload,
    stats,
    system,
    volumes,
    waits,
)

if TYPE_CHECKING:
    from wherry_protocol.call import Call, Stream
    from wherryd.control.context import Answers, AtOnce, Context, Streams
    from wherryd.control.emitter import Emitter
    from wherryd.control.reply import Reply

_NOUNS = (
    again,
    containers,
    event_log,
    health,
    housekeeping,
    files,
    images,
    networks,
    processes,
    reload,
    stats,
    system,
    volumes,
    waits,
)
_ANSWERS: Answers = {kind: verb for noun in _NOUNS for kind, verb in noun.ANSWERS.items()}
_STREAMS: Streams = {kind: verb for noun in _NOUNS for kind, verb in noun.STREAMS.items()}
_AT_ONCE: AtOnce = processes.AT_ONCE


class Verbs:
    """Every operation, bound to one supervisor."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def answer(self, call: Call[Any]) -> Any:
        """Perform a request. Raises WherryError."""
        return await _find(_ANSWERS, call)(self._context, call)

    def begins_at_once(self, call: Call[Any]) -> bool:
        """Say whether `begin` is what performs a request."""
        return type(call) in _AT_ONCE

    def begin(self, call: Call[Any], reply: Reply) -> None:
        """Begin to perform a stream's request: the reply has the rest. Raises WherryError."""
        _find(_AT_ONCE, call)(self._context, call, reply)

    def expect(self) -> None:
        """Have those awake that one more request will need, of the kind that `begin` is for."""
        self._context.execs.expect()

    async def stream(self, call: Stream[Any], emitter: Emitter) -> Any:
        """Perform a stream's request. Raises WherryError."""
        return await _find(_STREAMS, call)(self._context, call, emitter)


def _find(table: dict[type[Any], Any], call: Call[Any]) -> Any:
    verb = table.get(type(call))
    if verb is None:
        raise InternalError(f"{call.op}: this supervisor has no such verb")
    return verb
