"""Docker's --format templates, as far as they name fields: {{.Names}}, {{json .State}}, {{.}}.

Owns the grammar and the rendering; must never evaluate anything else.
"""

from __future__ import annotations

import json
import re

from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING, cast
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from typing import Any

_PART = re.compile(r"\{\{(.*?)\}\}")
_ACTION = re.compile(r"(json\s+)?\.((?:[\w-]+)(?:\.[\w-]+)*)?", re.ASCII)
_ESCAPES = {r"\t": "\t", r"\n": "\n", r"\\": "\\"}


class Template(Value):
    """A compiled template: literal texts and field references in turn."""

    parts: tuple[str | Field, ...]

    def render(self, document: dict[str, Any]) -> str:
        """Return the text for a document. Raises BadRequest for a field that it does not have."""
        return "".join(part if isinstance(part, str) else part.render(document) for part in self.parts)

    @property
    def header(self) -> str:
        """The heading of a table with this template's columns."""
        return "".join(part if isinstance(part, str) else part.heading for part in self.parts)


class Field(Value):
    """A path into the document; () is all of it."""

    path: tuple[str, ...]
    as_json: bool

    @property
    def heading(self) -> str:
        """The field's name in capitals, words apart."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.path[-1] if self.path else "").upper()

    def render(self, document: dict[str, Any]) -> str:
        """Return the field's text."""
        value: Any = document
        for name in self.path:
            if not _has(value, name):
                raise BadRequest(f"--format: there is no field .{'.'.join(self.path)}")
            value = value[name]
        return json.dumps(value) if self.as_json else _text(value)


def compile_template(text: str) -> Template:
    """Return the template. Raises BadRequest for anything but plain fields."""
    parts: list[str | Field] = []
    position = 0
    for match in _PART.finditer(text):
        parts += [_literal(text[position : match.start()]), _field(match[1].strip())]
        position = match.end()
    return Template(parts=(*parts, _literal(text[position:])))


def _field(action: str) -> Field:
    match = _ACTION.fullmatch(action)
    if match is None:
        raise BadRequest(
            f"--format: {{{{{action}}}}} is not understood", hint="plain fields: {{.Name}}, {{json .State}}"
        )
    return Field(path=tuple(match[2].split(".")) if match[2] else (), as_json=bool(match[1]))


def _literal(text: str) -> str:
    if "{{" in text or "}}" in text:
        raise BadRequest(f"--format: {text!r} has braces without their pair")
    return re.sub(r"\\[tn\\]", lambda match: _ESCAPES[match[0]], text)


def _has(value: Any, name: str) -> bool:
    return isinstance(value, dict) and name in cast("dict[str, Any]", value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    return json.dumps(value)
