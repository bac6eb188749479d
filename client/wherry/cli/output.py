"""Bytes on their way to our own standard output and error.

Owns writing all of them, and the words for those that are missing; must never buffer.
"""

from __future__ import annotations

import os
import select

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.log_options import LogGap


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, also to a descriptor that somebody made non-blocking. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def gap_words(gap: LogGap) -> str:
    """Return in words what a log has not."""
    if gap.why == "rotated":
        return f"missed {gap.bytes} bytes of the log: their file has gone before they were read"
    return f"dropped {gap.lines} lines ({gap.bytes} bytes): the log could not be written, and does not block"
