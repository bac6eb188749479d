"""What bounds one container's log: how large a piece gets, how many there are, and whether it may wait.

Owns the defaults and the checks of what somebody asks for. No IO but one look at the kernel's own limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.log_options import LogOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_SIZE = 64 << 20
MAX_FILE = 4
"""By default a container's log takes at most 256 MiB, however much it prints."""

SMALLEST = 1024
"""Bytes of a piece: with less than that a log consists of its files' names."""

MOST_FILES = 1000
LARGEST = 1 << 46
"""Bytes: a place in a log has 48 bits."""

PIPE = 1 << 20
"""Bytes of the pipe that a container writes to: see launcher/entry.py."""

PIPE_MAX_SIZE = Path("/proc/sys/fs/pipe-max-size")
_PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """`max_size` 0: one piece without a limit. `buffer`: bytes of the pipe of a log that does not block."""

    max_size: int = MAX_SIZE
    max_file: int = MAX_FILE
    compress: bool = True
    blocking: bool = True
    buffer: int = PIPE

    @classmethod
    def of(cls, options: LogOptions) -> LogLimits:
        """Return what a container's options come to."""
        said = {key: value for key, value in vars(options).items() if value is not None}
        mode = said.pop("mode", "blocking")
        buffer = said.pop("max_buffer_size", PIPE)
        return cls(blocking=mode == "blocking", buffer=buffer, **said)

    def __str__(self) -> str:
        mode = "blocking" if self.blocking else "non-blocking"
        packed = str(self.compress).lower()
        return f"max-size={self.max_size},max-file={self.max_file},compress={packed},mode={mode}"

    def fill_in(self, options: LogOptions) -> LogOptions:
        """Return options with everything said: what they leave out is as here."""
        return LogOptions(
            max_size=self.max_size if options.max_size is None else options.max_size,
            max_file=self.max_file if options.max_file is None else options.max_file,
            compress=self.compress if options.compress is None else options.compress,
            mode=options.mode or ("blocking" if self.blocking else "non-blocking"),
            max_buffer_size=options.max_buffer_size,
        )


class LogDefaults:
    """What bounds the logs of containers that are made now and say nothing of it: the settings say so."""

    def __init__(self, limits: LogLimits) -> None:
        self.limits = limits

    def set(self, limits: LogLimits) -> None:
        """Have others hold for those that are made from now on."""
        self.limits = limits


def changed(options: LogOptions, wanted: LogOptions) -> LogOptions:
    """Return options with those that are said in the place of what they were. Raises BadRequest."""
    said = {name: value for name, value in vars(wanted).items() if value is not None}
    if wanted.mode == "blocking":
        said.setdefault("max_buffer_size", None)  # it goes with the other mode
    merged = options.replace(**said)
    check(merged)
    return merged


def check(options: LogOptions) -> None:
    """Refuse what cannot be. Raises BadRequest naming the option and its value."""
    size, files, buffer = options.max_size, options.max_file, options.max_buffer_size
    if size is not None and size != 0 and not SMALLEST <= size <= LARGEST:
        raise BadRequest(
            f"log option max-size={size} is out of range", hint=f"{SMALLEST} bytes or more; 0 is no limit"
        )
    if files is not None and not 1 <= files <= MOST_FILES:
        raise BadRequest(f"log option max-file={files} is out of range", hint=f"1 to {MOST_FILES}")
    if buffer is None:
        return
    if options.mode != "non-blocking":
        raise BadRequest(
            f"log option max-buffer-size={buffer} goes with mode=non-blocking only",
            hint="a log that blocks loses nothing, and has no such buffer",
        )
    most = int(PIPE_MAX_SIZE.read_text(encoding="ascii"))
    if not _PAGE <= buffer <= most:
        raise BadRequest(
            f"log option max-buffer-size={buffer} is out of range",
            hint=f"{_PAGE} to {most} bytes, as {PIPE_MAX_SIZE} allows",
        )


def limits_from(config: Mapping[str, Any], where: str) -> LogLimits:
    """Return the limits that a table of the settings says. Raises BadRequest starting with `where`."""
    kinds = {"max_size": (int, str), "max_file": (int,), "compress": (bool,), "mode": (str,)}
    from wherry_protocol.log_options import parse_log_options

    for key, value in config.items():
        if key not in kinds:
            raise BadRequest(f"{where}: unknown setting {key[:40]}", hint=f"known: {', '.join(kinds)}")
        if not isinstance(value, kinds[key]) or (isinstance(value, bool) and bool not in kinds[key]):
            raise BadRequest(f"{where}: {key} must be {' or '.join(kind.__name__ for kind in kinds[key])}")
    said = [f"{key.replace('_', '-')}={str(value).lower()}" for key, value in config.items()]
    try:
        options = parse_log_options(said)
        check(options)
    except BadRequest as error:
        raise BadRequest(f"{where}: {error.message}", hint=error.hint) from None
    return LogLimits.of(options)
