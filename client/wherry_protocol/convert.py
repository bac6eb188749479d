"""From type annotations to functions that check what arrived.

Owns the conversion of plain msgpack types into the types that values declare, with errors that
name the field. Must never accept a value whose type is not exactly the declared one (an int where
a float is declared being the one exception).
"""

from __future__ import annotations

import sys

from wherry_protocol.typed import Any, Callable, Literal, Mapping, cast
from wherry_protocol.value import FieldError, Value, kind_of

Converter = Callable[[Any, str, bool], Any]
"""(raw, where, strict) -> checked value."""

_SCALARS: dict[Any, str] = {str: "a string", bool: "true or false", bytes: "bytes"}
_NONE_TYPE = type(None)
_LITERAL: Any = Literal


def converters_of(kind: Any, names: Mapping[str, Any]) -> dict[str, Converter]:
    """Return a converter for each field of a Value class."""
    found: dict[str, Converter] = {}
    for owner in reversed(kind.__mro__):
        for name, annotation in getattr(owner, "__annotations__", {}).items():
            if name in names:
                found[name] = converter(_evaluate(annotation, owner.__module__))
    return found


def converter(hint: Any) -> Converter:
    """Return a function (raw, where, strict) -> checked value for a type annotation."""
    if hint in _SCALARS:
        return _scalar(hint)
    if hint is int or hint is float:
        return _number(hint)
    if hint is None or hint is _NONE_TYPE:
        return _none
    if type(hint) is _LITERAL:
        return _literal(hint.values)
    if _is_value(hint):
        return cast("Converter", hint.from_wire)
    return _compound(hint, getattr(hint, "__origin__", None), getattr(hint, "__args__", ()))


def _compound(hint: Any, origin: Any, args: tuple[Any, ...]) -> Converter:
    if origin is tuple:
        return _list(converter(args[0])) if args[-1] is Ellipsis else _fixed([*map(converter, args)])
    if origin is Mapping:
        return _mapping(converter(args[1]))
    if len(args) == 2 and _NONE_TYPE in args:  # noqa: PLR2004 - a union of one type with None
        return _optional(converter(args[args[0] is _NONE_TYPE]))
    raise TypeError(f"{hint!r} cannot cross the control socket")


def _is_value(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Value)


def _evaluate(annotation: Any, module: str) -> Any:
    if isinstance(annotation, str):
        return eval(annotation, vars(sys.modules[module]))  # noqa: S307 - text of our own class bodies
    return annotation


def _expect(kind: type, called: str, raw: Any, where: str) -> None:
    if type(raw) is not kind:
        raise FieldError(f"{where}: expected {called}, got {kind_of(raw)}")


def _none(raw: Any, where: str, _strict: bool) -> None:
    _expect(_NONE_TYPE, "nil", raw, where)


def _scalar(kind: type) -> Converter:
    def convert(raw: Any, where: str, _strict: bool) -> Any:
        if type(raw) is not kind:
            raise FieldError(f"{where}: expected {_SCALARS[kind]}, got {kind_of(raw)}")
        return raw

    return convert


def _number(kind: type[int | float]) -> Converter:
    expected = "a whole number" if kind is int else "a number"

    def convert(raw: Any, where: str, _strict: bool) -> Any:
        if type(raw) is int or type(raw) is kind:
            return kind(raw)
        raise FieldError(f"{where}: expected {expected}, got {kind_of(raw)}")

    return convert


def _literal(allowed: tuple[Any, ...]) -> Converter:
    def convert(raw: Any, where: str, _strict: bool) -> Any:
        for value in allowed:
            if type(raw) is type(value) and raw == value:
                return value
        raise FieldError(f"{where}: expected one of {', '.join(map(str, allowed))}, got {raw!r:.60}")

    return convert


def _list(each: Converter) -> Converter:
    def convert(raw: Any, where: str, strict: bool) -> Any:
        _expect(list, "a list", raw, where)
        return tuple([each(item, f"{where}[{index}]", strict) for index, item in enumerate(raw)])

    return convert


def _fixed(parts: list[Converter]) -> Converter:
    def convert(raw: Any, where: str, strict: bool) -> Any:
        _expect(list, f"a list of {len(parts)}", raw, where)
        if len(raw) != len(parts):
            raise FieldError(f"{where}: expected a list of {len(parts)}, got one of {len(raw)}")
        pairs = enumerate(zip(parts, raw, strict=True))
        return tuple([part(item, f"{where}[{index}]", strict) for index, (part, item) in pairs])

    return convert


def _mapping(each: Converter) -> Converter:
    def convert(raw: Any, where: str, strict: bool) -> Any:
        _expect(dict, "a map", raw, where)
        for key in raw:
            if type(key) is not str:
                raise FieldError(f"{where}: expected string keys, got {kind_of(key)}")
        return {key: each(item, f"{where}.{key}", strict) for key, item in raw.items()}

    return convert


def _optional(inner: Converter) -> Converter:
    return lambda raw, where, strict: None if raw is None else inner(raw, where, strict)
