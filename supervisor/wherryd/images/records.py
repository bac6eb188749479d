"""What a worker tells the supervisor over its pipe: msgpack arrays back to back, as values on both sides.

Never trusts the other side: what is not exactly one of the three records is an error. Another kind of worker
has records of its own in the same form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgpack as untyped_msgpack  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

R = TypeVar("R")

_msgpack: Any = untyped_msgpack
_LIMIT = 64 << 10
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


class Read(NamedTuple):
    """So many bytes of the archive have been read."""

    total: int


class Done(NamedTuple):
    """The layer is whole: entries, bytes of their data in whole pages, the archive's SHA-256 in hex."""

    entries: int
    size: int
    digest: str


class Failed(NamedTuple):
    """It is not. `kind` is "archive", "no_space", "kernel" or "internal" (a defect of ours)."""

    kind: str
    message: str
    hint: str | None = None
    errno: int | None = None


Record = Read | Done | Failed
_TAGS: dict[type[Record], str] = {Read: "read", Done: "done", Failed: "failed"}


def encode(record: Record) -> bytes:
    """Return the bytes of one record, fewer than PIPE_BUF."""
    return packed([_TAGS[type(record)], *record])


def packed(array: list[Any]) -> bytes:
    """Return an array as bytes; text that is not UTF-8 passes as os.fsdecode gives it."""
    data: bytes = _msgpack.packb(array, unicode_errors="surrogateescape")
    return data


class Decoder(Generic[R]):
    """Bytes as they come off the pipe to records. Raises ValueError."""

    def __init__(self, decode: Callable[[Any], R]) -> None:
        self._decode = decode
        self._unpacker: Any = _msgpack.Unpacker(max_buffer_size=_LIMIT, unicode_errors="surrogateescape")

    def feed(self, data: bytes | bytearray) -> Iterator[R]:
        """Yield the records that are complete."""
        self._unpacker.feed(data)
        for raw in self._unpacker:
            yield self._decode(raw)


def decode(raw: Any) -> Record:
    """Return the record that an array stands for. Raises ValueError."""
    match raw:
        case ["read", int(total)]:
            return Read(total)
        case ["done", int(entries), int(size), str(digest)] if _HEX_DIGEST.fullmatch(digest):
            return Done(entries, size, digest)
        case ["failed", str(kind), str(message), str() | None as hint, int() | None as errno]:
            return Failed(kind, message, hint, errno)
        case _:
            raise ValueError(f"no record: {raw!r:.80}")
