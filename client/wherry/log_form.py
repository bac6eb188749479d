"""A container's log options under docker's names, for `inspect`.

Owns the wording; pure.
"""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from wherry_protocol.log_options import LogDropped, LogOptions

_UNITS = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


def log_config(options: LogOptions) -> dict[str, Any]:
    """Return HostConfig's LogConfig; texts all, as docker has them."""
    said = {
        "max-size": None if options.max_size is None else _size(options.max_size),
        "max-file": options.max_file,
        "compress": None if options.compress is None else str(options.compress).lower(),
        "mode": options.mode,
        "max-buffer-size": None if options.max_buffer_size is None else _size(options.max_buffer_size),
    }
    return {"Type": "file", "Config": {key: str(value) for key, value in said.items() if value is not None}}


def dropped_document(dropped: LogDropped) -> dict[str, Any]:
    """Return what a log that does not block has dropped."""
    return {"Bytes": dropped.bytes, "Lines": dropped.lines}


def _size(size: int) -> str:
    for unit, letter in _UNITS:
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)
