"""Log options on the wire: how much of what a container prints is kept, and what a full disk does to it."""

from __future__ import annotations

from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING, Literal
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

LogMode = Literal["blocking", "non-blocking"]

_KNOWN = ("max-size", "max-file", "compress", "mode", "max-buffer-size")
_UNITS = {"": 1, "b": 1} | {
    f"{unit}{more}": 1 << 10 * power for power, unit in enumerate("kmgt", 1) for more in ("", "b", "ib")
}
_DIGITS = 15
_FLAGS = {"true": True, "false": False}


class LogOptions(Value):
    """What of a container's output is kept. None is as the supervisor's settings say: 64 MiB, 4 files.

    A log goes on in another file when its file has `max_size` bytes (0: never); the oldest of `max_file`
    files goes. `compress` packs the full ones. A "blocking" container waits while the disk is full; of one
    that is "non-blocking" lines are dropped, and counted, when over half of `max_buffer_size` bytes wait.

    Example:
        RunSpec(image="host", command=("./serve",), log=LogOptions(max_size=10 << 20, max_file=3))

    """

    max_size: int | None = None
    max_file: int | None = None
    compress: bool | None = None
    mode: LogMode | None = None
    max_buffer_size: int | None = None


NO_LOG_OPTIONS = LogOptions()
"""What a container has that asks for nothing; nobody changes it."""


class LogGap(Value):
    """Bytes that a log has not: `lines` of them ended there, None if nobody counted.

    "rotated": they were there, and their file went before they were read. "dropped": the container printed
    them while the log could not be written, and was not to wait.
    """

    why: Literal["rotated", "dropped"]
    bytes: int
    lines: int | None = None


class LogDropped(Value):
    """What of a container's output was dropped so far, over all its runs."""

    bytes: int = 0
    lines: int = 0


NOTHING_DROPPED = LogDropped()


def parse_log_options(given: Iterable[str]) -> LogOptions:
    """Return the options of "max-size=10m" and so on; the last one of a name counts. Raises BadRequest."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if name not in _KNOWN:
            raise BadRequest(f"log option {name[:40]!r} is unknown", hint=f"one of {', '.join(_KNOWN)}")
        if not equals:
            raise BadRequest(f"log option {name}: a value is missing", hint=f"write {name}=VALUE")
        found[name] = value
    return LogOptions(
        max_size=_size("max-size", found),
        max_file=_count("max-file", found),
        compress=_flag("compress", found),
        mode=_mode(found),
        max_buffer_size=_size("max-buffer-size", found),
    )


def _size(name: str, found: dict[str, str]) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    if text == "-1" and name == "max-size":
        return 0  # docker's word for no limit
    number = text.lower().rstrip("bkmgti")
    unit = _UNITS.get(text.lower()[len(number) :])
    whole, point, part = number.partition(".")
    if unit is None or not _is_number(whole) or (point and not _is_number(part)):
        hint = "write 65536, 64k, 10m or 1.5g; max-size=0 is no limit"
        raise BadRequest(f"log option {name}={text[:40]!r} is no size", hint=hint)
    return int(whole) * unit + int(int(part or 0) * unit / 10.0 ** len(part))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _count(name: str, found: dict[str, str]) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    if not _is_number(text):
        raise BadRequest(f"log option {name}={text[:40]!r} is no number of files", hint="such as max-file=4")
    return int(text)


def _flag(name: str, found: dict[str, str]) -> bool | None:
    text = found.get(name)
    if text is None:
        return None
    if text not in _FLAGS:
        raise BadRequest(f"log option {name}={text[:40]!r} is neither true nor false")
    return _FLAGS[text]


def _mode(found: dict[str, str]) -> LogMode | None:
    text = found.get("mode")
    if text is None:
        return None
    if text == "blocking":
        return "blocking"
    if text == "non-blocking":
        return "non-blocking"
    raise BadRequest(f"log option mode={text[:40]!r} is unknown", hint="blocking or non-blocking")
