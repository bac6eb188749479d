"""What a worker tells the supervisor over its pipe: msgpack arrays back to back, as values on both sides.

Never trusts the other side: what is not exactly one of the records is an error.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from wherryd.images.records import Failed, Read, packed

Kind = Literal["A", "C", "D"]

MAX_TOLD = 20
"""Paths that are told by name of those left out."""


class Changes(NamedTuple):
    """Some paths that differ from the image, with what happened to them: added, changed or deleted."""

    entries: tuple[tuple[Kind, str], ...]


class Done(NamedTuple):
    """All is done: how many entries, bytes of the archive (or of the files), and what was left out."""

    entries: int
    size: int
    left_out: tuple[str, ...] = ()
    left_out_count: int = 0


Record = Read | Failed | Changes | Done
_TAGS: dict[type[Record], str] = {Read: "read", Failed: "failed", Changes: "changes", Done: "done"}


def encode(record: Record) -> bytes:
    """Return the bytes of one record."""
    return packed([_TAGS[type(record)], *record])


def decode(raw: Any) -> Record:
    """Return the record that an array stands for. Raises ValueError."""
    match raw:
        case ["changes", [*entries]]:
            return Changes(tuple(map(_change, entries)))
        case ["done", int(entries), int(size), [*left_out], int(count)]:
            return Done(entries, size, tuple(map(str, left_out)), count)
        case ["read", int(total)]:
            return Read(total)
        case ["failed", str(kind), str(message), str() | None as hint, int() | None as errno]:
            return Failed(kind, message, hint, errno)
        case _:
            raise ValueError(f"no record: {raw!r:.80}")


def _change(raw: Any) -> tuple[Kind, str]:
    match raw:
        case ["A" | "C" | "D" as kind, str(path)]:
            return kind, path
        case _:
            raise ValueError(f"no change: {raw!r:.80}")
