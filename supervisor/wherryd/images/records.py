"""What a worker tells the supervisor over its pipe: msgpack arrays back to back, as values on both sides.

Each says which of the worker's jobs it is about. Never trusts the other side: what is not exactly one of
the records is an error. Another kind of worker has records of its own in the same form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgpack as untyped_msgpack  # type: ignore[import-untyped]  # it has no types

from wherryd.images.blobs import Place
from wherryd.images.configs import MAX_CONFIG, MAX_LAYERS, is_list
from wherryd.images.manifests import MAX_IMAGES, Blob, Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

R = TypeVar("R")

_msgpack: Any = untyped_msgpack
_LIMIT = 2 * MAX_CONFIG + MAX_LAYERS * 1024
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


class Read(NamedTuple):
    """So many bytes of the archive have been read."""

    total: int


class Opaque(NamedTuple):
    """A folder of the layer that hides what layers below have in it; b"" is the root."""

    path: bytes


class Done(NamedTuple):
    """The layer is whole: entries, bytes of their data in whole pages, the archive's SHA-256 in hex.

    `diff_id` and `tar_size` are of the archive uncompressed; `repeatable`: it can be written again.
    """

    entries: int
    size: int
    digest: str
    diff_id: str
    tar_size: int
    repeatable: bool


class Contents(NamedTuple):
    """The archive holds so many images, each told before; `unpacked`: their files are in the folder now."""

    images: int
    unpacked: bool


class Saved(NamedTuple):
    """The image archive is written: so many bytes."""

    size: int


class Failed(NamedTuple):
    """It is not. `kind` is "archive", "no_space", "kernel" or "internal" (a defect of ours)."""

    kind: str
    message: str
    hint: str | None = None
    errno: int | None = None


Record = Read | Opaque | Done | Found | Contents | Saved | Failed
_TAGS: dict[type[Record], str] = {
    Read: "read", Opaque: "opaque", Done: "done", Found: "image", Contents: "contents", Saved: "saved",
    Failed: "failed",
}  # fmt: skip


def encode(record: Record, job: int = 0) -> bytes:
    """Return the bytes of one record; but for an image's they are fewer than PIPE_BUF."""
    return packed([_TAGS[type(record)], job, *record])


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


def decode(raw: Any) -> tuple[int, Record]:
    """Return the job, and the record, that an array stands for. Raises ValueError."""
    match raw:
        case [str(tag), int(job), *fields]:
            return job, _record(tag, fields)
        case _:
            raise ValueError(f"no record: {raw!r:.80}")


def _record(tag: str, fields: list[Any]) -> Record:
    match [tag, *fields]:
        case ["read", int(total)]:
            return Read(total)
        case ["opaque", bytes(path)]:
            return Opaque(path)
        case ["image", str(digest), names, str(config), layers] if (
            _HEX_DIGEST.fullmatch(digest) and is_list(names) and is_list(layers)
        ):
            return Found(digest, tuple(map(str, names)), config, tuple(map(_blob, layers)))
        case _:
            return _last_record(tag, fields)


def _last_record(tag: str, fields: list[Any]) -> Record:
    match [tag, *fields]:
        case [
            "done",
            int(entries),
            int(size),
            str(digest),
            str(diff_id),
            int(tar_size),
            bool(repeatable),
        ] if _HEX_DIGEST.fullmatch(digest) and _HEX_DIGEST.fullmatch(diff_id):
            return Done(entries, size, digest, diff_id, tar_size, repeatable)
        case ["contents", int(images), bool(unpacked)] if 0 < images <= MAX_IMAGES:
            return Contents(images, unpacked)
        case ["saved", int(size)]:
            return Saved(size)
        case ["failed", str(kind), str(message), str() | None as hint, int() | None as errno]:
            return Failed(kind, message, hint, errno)
        case _:
            raise ValueError(f"no record: {tag} {fields!r:.80}")


def _blob(raw: Any) -> Blob:
    match raw:
        case [str(diff_id), str(digest), [str(name), int(offset), int(size)]] if _HEX_DIGEST.fullmatch(
            diff_id
        ) and (not digest or _HEX_DIGEST.fullmatch(digest)):
            return Blob(diff_id, digest, Place(name, offset, size))
        case _:
            raise ValueError(f"no layer: {raw!r:.80}")
