"""One container as the launcher holds it: process, descriptors, exit. Must never wait for the process."""

from __future__ import annotations

import errno
import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_F_SETPIPE_SZ = 1031
_PIPE_SIZE = 1 << 20  # what a burst may write before it waits for the log; the system's own limit


class Entry:
    """A container from the fork until its release. `failure` is the child's record of what went wrong."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.pid = 0
        self.fds: dict[str, int] = {}
        self.pending = True
        self.failure: tuple[Any, ...] | None = None
        self.exit: tuple[int | None, int | None] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return what each of the descriptors is, in the order they travel in."""
        return tuple(self.fds)

    def close_stdin(self) -> None:
        """Drop our duplicate of the write end, if there is one still."""
        fd = self.fds.pop("stdin", None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close every descriptor held for the container."""
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def make_stdio(entry: Entry, *, stdin: bool, terminal: bool) -> list[int]:
    """Give the entry our ends of the pipes and return the child's: [stdout, stderr] or [stdout, stderr, stdin].

    Empty with a terminal: the child makes that in its own devpts.
    """
    if terminal:
        return []
    theirs: list[int] = []
    try:
        for kind in ("stdout", "stderr"):
            entry.fds[kind], write = _pipe()
            theirs.append(write)
        if stdin:
            read, entry.fds["stdin"] = os.pipe2(os.O_CLOEXEC)
            theirs.append(read)
    except OSError:
        for fd in theirs:
            os.close(fd)
        raise
    return theirs


def _pipe() -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY, errno.ENOMEM):
            raise
        # a smaller pipe holds less of a burst, and loses nothing
    return read, write
