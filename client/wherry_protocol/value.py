"""The base of every value that crosses the control socket.

Owns two things: construction (frozen, keyword-only, defaults from the class body)
and checked conversion from and to plain msgpack types, with errors that name the field.

Why not `dataclasses`: importing it (it needs `inspect`) and running its decorator
cost the command line a third of its start-up time; type checkers see the same thing
through PEP 681.
"""

from __future__ import annotations

import typing
from collections.abc import Callable  # noqa: TC003 - evaluated by get_type_hints
from typing import Any, ClassVar, Self, dataclass_transform

_MISSING: Any = object()
_SCALARS = {str: "a string", bool: "true or false", bytes: "bytes"}


class FieldError(ValueError):
    """A value arrived in a shape that its type does not allow. The text names the field."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A frozen value with keyword-only fields, as its class annotates them.

    Fields may be: str, int, float, bool, bytes, another Value, Literal strings,
    `tuple[T, ...]`, `tuple[A, B]`, `Mapping[str, T]`, and unions of one of these with None.
    """

    _defaults: ClassVar[dict[str, Any]] = {}
    _converters: ClassVar[dict[str, Callable[[Any, str], Any]] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {
            name: cls.__dict__.get(name, _MISSING)
            for name, annotation in cls.__dict__.get("__annotations__", {}).items()
            if not str(annotation).startswith("ClassVar")
        }
        cls._defaults = {**cls._defaults, **own}
        cls._converters = None

    def __init__(self, **fields: Any) -> None:
        values = {**self._defaults, **fields}
        if len(values) != len(self._defaults):
            unknown = ", ".join(sorted(set(fields) - set(self._defaults)))
            raise TypeError(f"{type(self).__name__} has no field {unknown}")
        for name, value in values.items():
            if value is _MISSING:
                raise TypeError(f"{type(self).__name__} needs the field {name}")
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
    def from_wire(cls, data: Any, where: str = "") -> Self:
        """Build the value from plain msgpack types.

        Raises FieldError naming the field for a missing, unknown or mistyped one.
        """
        if not isinstance(data, dict):
            raise FieldError(f"{where or cls.__name__}: expected a map, got {_kind(data)}")
        converters = cls._converters
        if converters is None:
            converters = cls._converters = cls._compile()
        fields = dict(cls._defaults)
        prefix = where + "." if where else ""
        items: dict[Any, Any] = data
        for name, raw in items.items():
            convert = converters.get(name)
            if convert is None:
                raise FieldError(f"{prefix}{name}: {cls.__name__} has no such field")
            fields[name] = convert(raw, prefix + name)
        for name, value in fields.items():
            if value is _MISSING:
                raise FieldError(f"{prefix}{name}: missing")
        built = cls.__new__(cls)
        built.__dict__.update(fields)
        return built

    @classmethod
    def _compile(cls) -> dict[str, Callable[[Any, str], Any]]:
        hints = typing.get_type_hints(cls)
        return {name: converter(hints[name]) for name in cls._defaults}


def plain(value: Any) -> Any:
    """Return `value` in plain msgpack types: a Value becomes a map, a tuple a list."""
    if isinstance(value, Value):
        return value.to_wire()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in typing.cast("tuple[Any, ...]", value)]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in typing.cast("dict[str, Any]", value).items()}
    return value


def converter(hint: Any) -> Callable[[Any, str], Any]:
    """Return a function (raw, where) -> checked value for a type annotation."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Value):
        return hint.from_wire
    if hint in _SCALARS:
        return _scalar(hint)
    if hint is int or hint is float:
        return _number(hint)
    if hint is type(None):
        return _none
    if hint is Any:
        return lambda raw, _where: raw
    if origin is typing.Literal:
        return _literal(args)
    if origin is tuple:
        return _sequence(args)
    if origin is not None and issubclass_mapping(origin):
        return _mapping(args[1])
    if type(None) in args and len(args) == 2:  # noqa: PLR2004 - a union of one type with None
        return _optional(next(arg for arg in args if arg is not type(None)))
    raise TypeError(f"{hint!r} cannot cross the control socket")


def issubclass_mapping(origin: Any) -> bool:
    """Say whether a generic's origin is the abstract Mapping (or dict)."""
    return getattr(origin, "__name__", "") in ("Mapping", "dict")


def _kind(raw: Any) -> str:
    names = {dict: "a map", list: "a list", str: "a string", type(None): "nil", bool: "a boolean"}
    return names.get(type(raw), type(raw).__name__)


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        items: dict[Any, Any] = value
        return tuple((key, _hashable(item)) for key, item in items.items())
    return value


def _none(raw: Any, where: str) -> None:
    if raw is not None:
        raise FieldError(f"{where}: expected nil, got {_kind(raw)}")


def _scalar(kind: type) -> Callable[[Any, str], Any]:
    def convert(raw: Any, where: str) -> Any:
        if type(raw) is not kind:
            raise FieldError(f"{where}: expected {_SCALARS[kind]}, got {_kind(raw)}")
        return raw

    return convert


def _number(kind: type[int | float]) -> Callable[[Any, str], Any]:
    def convert(raw: Any, where: str) -> Any:
        if type(raw) is int or type(raw) is kind:
            return kind(raw)
        raise FieldError(
            f"{where}: expected {'a whole number' if kind is int else 'a number'}, got {_kind(raw)}"
        )

    return convert


def _literal(allowed: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    def convert(raw: Any, where: str) -> Any:
        for value in allowed:
            if type(raw) is type(value) and raw == value:
                return value
        raise FieldError(f"{where}: expected one of {', '.join(map(str, allowed))}, got {raw!r:.60}")

    return convert


def _sequence(args: tuple[Any, ...]) -> Callable[[Any, str], Any]:
    if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 - tuple[T, ...]
        each = converter(args[0])

        def convert_all(raw: Any, where: str) -> Any:
            if not isinstance(raw, (list, tuple)):
                raise FieldError(f"{where}: expected a list, got {_kind(raw)}")
            items = typing.cast("list[Any]", raw)
            return tuple(each(item, f"{where}[{index}]") for index, item in enumerate(items))

        return convert_all
    parts = [converter(arg) for arg in args]

    def convert_parts(raw: Any, where: str) -> Any:
        if not isinstance(raw, (list, tuple)) or len(typing.cast("list[Any]", raw)) != len(parts):
            raise FieldError(f"{where}: expected a list of {len(parts)}, got {_kind(raw)}")
        items = typing.cast("list[Any]", raw)
        return tuple(
            part(item, f"{where}[{index}]")
            for index, (part, item) in enumerate(zip(parts, items, strict=True))
        )

    return convert_parts


def _mapping(hint: Any) -> Callable[[Any, str], Any]:
    each = converter(hint)

    def convert(raw: Any, where: str) -> Any:
        if not isinstance(raw, dict):
            raise FieldError(f"{where}: expected a map, got {_kind(raw)}")
        items: dict[Any, Any] = raw
        for key in items:
            if type(key) is not str:
                raise FieldError(f"{where}: expected string keys, got {_kind(key)}")
        return {key: each(item, f"{where}.{key}") for key, item in items.items()}

    return convert


def _optional(hint: Any) -> Callable[[Any, str], Any]:
    inner = converter(hint)
    return lambda raw, where: None if raw is None else inner(raw, where)
