"""What a request is: a value with an operation name and the type of its answer."""

from __future__ import annotations

from wherry_protocol.typed import Any, ClassVar, Generic, TypeVar
from wherry_protocol.value import Value

R = TypeVar("R")


class Call(Value, Generic[R]):
    """A request that is answered once, with an R (or an error)."""

    op: ClassVar[str] = ""
    answer: ClassVar[Any] = None
    """The type expression of R, for the codec; None: the answer is nil."""


class Stream(Call[R]):
    """A request that has its connection to itself: events first, then the answer (or an error)."""

    events: ClassVar[tuple[type[Value], ...]] = ()
    """What may arrive before the answer; on the wire each is `{"event": "<class name>", "value": {…}}`."""
