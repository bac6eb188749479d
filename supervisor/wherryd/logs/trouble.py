"""Why a log cannot be written, as a line for a person: what failed, what that means, what to do."""

from __future__ import annotations

from errno import EDQUOT, EFBIG, EMFILE, ENFILE, ENOSPC, EROFS
from typing import TYPE_CHECKING

from wherryd.kernel import inodes

if TYPE_CHECKING:
    from wherryd.logs.log import Log

_HINTS = {
    ENOSPC: "free some space on its disk",
    EDQUOT: "raise the quota or remove files",
    EROFS: "mount its file system writable",
    EFBIG: "raise the file size limit of the supervisor",
    EMFILE: "raise the supervisor's LimitNOFILE",
    ENFILE: "the machine has too many open files: see fs.file-max",
}


def describe(log: Log, error: OSError) -> str:
    """Return the line for an error of writing a log, as its limits are now."""
    hint = _HINTS.get(error.errno or 0, "make it writable")
    path = error.filename or log.segment.path
    if error.errno == ENOSPC and inodes.used_up(log.segment.path):
        hint = "remove files: its disk has no inodes left"
    what = "the container waits, nothing is lost"
    if not log.limits.blocking:
        what = "the container does not wait, lines are dropped and counted"
    return f"cannot write {path}: {error.strerror}: {what}; {hint}"
