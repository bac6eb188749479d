"""Why a log cannot be written, as a line for a person: what failed, what that means, what to do."""

from __future__ import annotations

from errno import EDQUOT, EFBIG, ENOSPC, EROFS
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherryd.logs.log import Log

_HINTS = {
    ENOSPC: "free some space on its disk",
    EDQUOT: "raise the quota or remove files",
    EROFS: "mount its file system writable",
    EFBIG: "raise the file size limit of the supervisor",
}


def describe(log: Log, error: OSError) -> str:
    """Return the line for an error of writing a log, as its limits are now."""
    hint = _HINTS.get(error.errno or 0, "make it writable")
    path = error.filename or log.segment.path
    what = "the container waits, nothing is lost"
    if not log.limits.blocking:
        what = "the container does not wait, lines are dropped and counted"
    return f"cannot write {path}: {error.strerror}: {what}; {hint}"
