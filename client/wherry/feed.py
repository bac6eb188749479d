"""Bytes on their way into a container's standard input.

Owns the pipe's write end until everything is in; must never wait.
"""

from __future__ import annotations

import os

_CHUNK = 1 << 16


class InputFeed:
    """`fd` is the pipe, None when there is nothing more to write; `ref` the container."""

    def __init__(self, fd: int | None, data: bytes, ref: str) -> None:
        self.fd = fd
        self.ref = ref
        self._left = memoryview(data)
        if fd is not None:
            os.set_blocking(fd, False)

    def write(self) -> bool:
        """Write what fits; say whether this was the last of it (the pipe is then closed)."""
        if self.fd is None:
            return False
        try:
            while self._left:
                self._left = self._left[os.write(self.fd, self._left[:_CHUNK]) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            pass  # nobody reads any more: a command may end before it has read its input
        self.close()
        return True

    def close(self) -> None:
        """Close the pipe."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)
