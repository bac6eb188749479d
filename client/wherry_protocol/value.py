"""The base of every value that crosses the control socket.

Owns construction (frozen, keyword-only, defaults from the class body) and equality; must never
know how a value travels (convert.py does).

Why not `dataclasses`: importing it (it needs `inspect`) and running its decorator
cost the command line a third of its start-up time; type checkers see the same thing
through PEP 681.
"""

from __future__ import annotations

from wherry_protocol.typed import Any, Callable, ClassVar, Mapping, Self, dataclass_transform

_MISSING: Any = object()


class FieldError(ValueError):
    """A value arrived in a shape that its type does not allow. The text names the field."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A frozen value with keyword-only fields, as its class annotates them.

    Fields may be: str, int, float, bool, bytes, another Value, Literal strings,
    `tuple[T, ...]`, `tuple[A, B]`, `Mapping[str, T]`, and unions of one of these with None.
    """

    _defaults: ClassVar[dict[str, Any]] = {}
    _required: ClassVar[frozenset[str]] = frozenset()
    _converters: ClassVar[dict[str, Callable[[Any, str, bool], Any]] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {
            name: cls.__dict__.get(name, _MISSING)
            for name, annotation in cls.__annotations__.items()
            if not str(annotation).startswith("ClassVar")
        }
        cls._defaults = {**cls._defaults, **own}
        cls._required = frozenset(name for name, value in cls._defaults.items() if value is _MISSING)
        cls._converters = None

    def __init__(self, **fields: Any) -> None:
        values = {**self._defaults, **fields}
        if len(values) != len(self._defaults):
            unknown = ", ".join(sorted(set(fields) - set(self._defaults)))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")
        if not self._required <= fields.keys():
            raise TypeError(f"{type(self).__name__} needs the field {self._first_missing(fields)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(map(_hashable, self.__dict__.values()))))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({inside})"

    def replace(self, **changes: Any) -> Self:
        """Return the same value with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def to_wire(self) -> dict[str, Any]:
        """Return plain msgpack types, leaving out fields that hold their default."""
        return {
            name: plain(value) for name, value in self.__dict__.items() if value is not self._defaults[name]
        }

    @classmethod
    def from_wire(cls, data: Any, where: str = "", strict: bool = True) -> Self:
        """Build the value from plain msgpack types.

        Raises FieldError naming the field for a missing, mistyped or (if `strict`) unknown one.
        A reader of answers is not strict: a newer peer may say more than we know.
        """
        if not _is(data, dict):
            raise FieldError(f"{where or cls.__name__}: expected a map, got {kind_of(data)}")
        prefix = where + "." if where else ""
        fields = cls._convert(data, prefix, strict)
        if not cls._required <= data.keys():
            raise FieldError(f"{prefix}{cls._first_missing(data)}: missing")
        built = cls.__new__(cls)
        built.__dict__.update(fields)
        return built

    @classmethod
    def _first_missing(cls, fields: Mapping[str, Any]) -> str:
        return next(name for name in cls._defaults if name in cls._required and name not in fields)

    @classmethod
    def _convert(cls, items: dict[Any, Any], prefix: str, strict: bool) -> dict[str, Any]:
        converters = cls._converters
        if converters is None:
            from wherry_protocol.convert import converters_of  # it needs this module

            converters = cls._converters = converters_of(cls, cls._defaults)
        fields = dict(cls._defaults)
        for name, raw in items.items():
            convert = converters.get(name)
            if convert is not None:
                fields[name] = convert(raw, prefix + name, strict)
            elif strict:
                raise FieldError(f"{prefix}{name}: {cls.__name__} has no such field")
        return fields


def plain(value: Any) -> Any:
    """Return `value` in plain msgpack types: a Value becomes a map, a tuple a list."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Value):
        return value.to_wire()
    if _is(value, tuple) or _is(value, list):
        return [plain(item) for item in value]
    if _is(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


_PLAIN = frozenset((str, int, bool, bytes, float, type(None)))

_KINDS: dict[Any, str] = {
    dict: "a map", list: "a list", str: "a string", bytes: "bytes", type(None): "nil", bool: "a boolean",
}  # fmt: skip


def kind_of(raw: Any) -> str:
    """Return what a plain value is, as an error message calls it."""
    return _KINDS.get(type(raw)) or type(raw).__name__


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind)


def _hashable(value: Any) -> Any:
    if _is(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return value
