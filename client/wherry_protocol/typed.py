"""The names that the protocol's modules take from `typing`, without its import at run time.

`typing` takes 10 ms to import, a third of what a short command may last. Owns stand-ins that
work as class bases, decorators and inside annotations. Type checkers see the real names, so a
stand-in must never behave unlike the name that it stands for.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, dataclass_transform
else:
    from _collections_abc import Callable, Mapping

    Any = ClassVar = Self = object

    class Generic:
        """A base whose parameters matter to type checkers only."""

        def __class_getitem__(cls, _parameters):  # noqa: ANN001, ANN204 - typing's own signature
            return cls

    class Literal:
        """One of some constants; a converter reads them back from `values`."""

        def __init__(self, values):  # noqa: ANN001, ANN204 - never seen by a type checker
            self.values = values

        def __class_getitem__(cls, values):  # noqa: ANN001, ANN204 - typing's own signature
            return cls(values if isinstance(values, tuple) else (values,))

        def __or__(self, none):  # noqa: ANN001, ANN204 - never seen by a type checker
            return _Optional(self, none)

    class _Optional:
        """A Literal or None; converters know a union by its `__args__`."""

        def __init__(self, literal, none):  # noqa: ANN001, ANN204 - as above
            self.__args__ = (literal, type(none))

    def TypeVar(name):  # noqa: ANN001, ANN201, N802 - typing's own name
        """Return something to subscribe a Generic with."""
        return name

    def cast(_hint, value):  # noqa: ANN001, ANN201 - typing's own signature
        """Return the value as it is."""
        return value

    def dataclass_transform(**_options):  # noqa: ANN003, ANN201 - typing's own signature
        """Return a decorator that changes nothing."""
        return lambda decorated: decorated


__all__ = [
    "TYPE_CHECKING", "Any", "Callable", "ClassVar", "Generic", "Literal", "Mapping", "Self", "TypeVar",
    "cast", "dataclass_transform",
]  # fmt: skip
