"""What one look came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]
"""warning: containers run, but something will be missed. problem: they do not, or soon will not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` is one word for the column, `text` what is so, `advice` what to do (None: nothing)."""

    subject: str
    level: Level
    text: str
    advice: str | None = None


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", text)


def warning(subject: str, text: str, advice: str | None = None) -> Finding:
    """It works, with less than there could be."""
    return Finding(subject, "warning", text, advice)


def problem(subject: str, text: str, advice: str | None = None) -> Finding:
    """It does not work."""
    return Finding(subject, "problem", text, advice)
