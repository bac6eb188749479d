"""What a request is: a value with an operation name and the type of its answer."""

from __future__ import annotations

from wherry_protocol.typed import Any, ClassVar, Generic, TypeVar, cast
from wherry_protocol.value import Value

R = TypeVar("R")


class Call(Value, Generic[R]):
    """A request that is answered once, with an R (or an error)."""

    op: ClassVar[str] = ""
    answer: ClassVar[Any] = None
    """The type expression of R, for the codec; None: the answer is nil."""
    repeatable: ClassVar[bool] = False
    """Whether sending it again, to another supervisor, is no more than asking again."""

    @classmethod
    def answer_from_wire(cls, raw: Any) -> R:
        """Return the checked answer; a field that we do not know is skipped. Raises FieldError."""
        from wherry_protocol.convert import converter  # needed where answers arrive only

        return cast("R", converter(cls.answer)(raw, f"answer to {cls.op}", False))


class Stream(Call[R]):
    """A request that has its connection to itself: events first, then the answer (or an error)."""

    events: ClassVar[tuple[type[Value], ...]] = ()
    """What may arrive before the answer; on the wire each is `{"event": "<class name>", "value": {…}}`."""
    descriptors: ClassVar[int] = 0
    """How many descriptors may ride along with the request (SCM_RIGHTS)."""

    @classmethod
    def event_class(cls, name: Any) -> type[Value] | None:
        """Return the class of this stream's event of that name."""
        return next((kind for kind in cls.events if kind.__name__ == name), None)
