"""Frames: msgpack maps, back to back, each within fixed limits.

Owns the bytes. Must never know what a frame means (connection.py does), and never obey part of a
frame that breaks a limit. Strings that are not UTF-8 (a file name, an argument) travel unchanged
as surrogate escapes, as Python's own os.fsdecode gives them.
"""

from __future__ import annotations

from collections import deque

import msgpack  # type: ignore[import-untyped]  # it has no types

from wherry_protocol.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Any

_msgpack: Any = msgpack
_ERRORS: tuple[type[Exception], ...] = (ValueError, TypeError, _msgpack.UnpackException)

MAX_REQUEST = 1 << 20
"""Bytes of a frame that a supervisor accepts: any local user with access may send one, as root reads it."""

MAX_ANSWER = 64 << 20
"""Bytes of a frame that a client accepts: a list of a hundred thousand containers passes."""

MAX_DEPTH = 32
"""Nested maps and lists in a frame; a request of ours needs 5."""

_NESTS = (dict, list)
_SLICE = 1 << 16
_MAX_ITEMS = 1 << 17
"""Of a list or map: a header alone makes msgpack allocate for as many, so a lie must stay cheap."""


class BadFrame(ValueError):  # noqa: N818 - the thing that came, not the act
    """What arrived is no frame of ours; the text says why."""


class FrameReader:
    """Turns bytes, however they were cut, into frames of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[bytes | memoryview] = deque()
        self._fed = 0
        self._frame_start = 0
        self._unpacker: Any = _msgpack.Unpacker(
            raw=False, strict_map_key=False, unicode_errors="surrogateescape", ext_hook=_refuse_extension,
            read_size=4096, max_buffer_size=limit + _SLICE, max_str_len=limit, max_bin_len=limit,
            max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS, max_ext_len=12,
        )  # fmt: skip

    @property
    def inside_frame(self) -> bool:
        """Whether bytes of an unfinished frame have arrived."""
        return bool(self._waiting) or self._fed > self._frame_start

    @property
    def announced(self) -> bool:
        """Whether of the next frame its first byte has arrived, and nothing else."""
        return not self._waiting and self._fed == self._frame_start + 1

    def feed(self, data: bytes) -> None:
        """Take bytes in."""
        if self._waiting and len(self._waiting[-1]) + len(data) <= _SLICE:
            data = b"".join((self._waiting[-1], data))
            self._waiting.pop()
        if len(data) <= _SLICE:
            self._waiting.append(data)
            return
        view = memoryview(data)
        self._waiting.extend(view[start : start + _SLICE] for start in range(0, len(data), _SLICE))

    def next_frame(self) -> dict[Any, Any] | None:
        """Return the next frame, None when more bytes are needed. Raises BadFrame."""
        try:
            return self._unpack()
        except BadFrame:
            raise
        except _ERRORS as error:
            raise BadFrame(f"not msgpack as we speak it: {str(error) or type(error).__name__}") from error

    def _unpack(self) -> dict[Any, Any] | None:
        if self._fed == self._frame_start:
            # To find out from the unpacker that it has nothing would take longer.
            if not self._waiting:
                return None
            self._feed_slice()
        while True:
            try:
                frame = self._unpacker.unpack()
            except _msgpack.OutOfData:
                if self._fed - self._frame_start > self._limit:
                    raise BadFrame(f"a frame is larger than {self._limit} bytes") from None
                if not self._waiting:
                    return None
                self._feed_slice()
            else:
                return self._checked(frame)

    def _feed_slice(self) -> None:
        data = self._waiting.popleft()
        self._fed += len(data)
        self._unpacker.feed(data)

    def _checked(self, frame: Any) -> dict[Any, Any]:
        end: int = self._unpacker.tell()
        size, self._frame_start = end - self._frame_start, end
        if size > self._limit:
            raise BadFrame(f"a frame is larger than {self._limit} bytes")
        if not _is_map(frame):
            raise BadFrame("a frame is not a map")
        if _deeper_than(frame, MAX_DEPTH):
            raise BadFrame(f"a frame is nested deeper than {MAX_DEPTH}")
        return cast("dict[Any, Any]", frame)


def pack(frame: dict[str, Any]) -> bytes:
    """Return a frame's bytes."""
    packed: bytes = _msgpack.packb(frame, unicode_errors="surrogateescape")
    return packed


ANNOUNCEMENT = b"\xde"
"""The first byte of a map of any size, in the longer one of its forms."""


def after_announcement(frame: bytes) -> bytes:
    """Return the rest of a frame of ours (a map of less than 16 items) whose first byte was sent ahead."""
    return (frame[0] & 15).to_bytes(2) + frame[1:]


def unpack_list(data: bytes) -> list[Any] | None:
    """Return a list that is alone in its message; None if it is no such thing."""
    try:
        value = _msgpack.unpackb(data)
    except _ERRORS:
        return None
    return value if _is(value, list) else None


def _is_map(frame: Any) -> bool:
    return _is(frame, dict)


def _is(value: Any, kind: type) -> bool:
    return type(value) is kind


def _deeper_than(value: Any, room: int) -> bool:
    if room == 0:
        return True
    for item in value.values() if _is_map(value) else value:
        if type(item) in _NESTS and _deeper_than(item, room - 1):
            return True
    return False


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise BadFrame(f"msgpack extension type {code} is not spoken here")
