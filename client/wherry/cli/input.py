"""Our standard input on its way into a container's pipe or terminal.

Owns the descriptor that rode along, and at most one read's worth of bytes. Must never wait.
"""

from __future__ import annotations

import os
import select

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.cli.keys import DetachKeys

_STDIN = 0
_CHUNK = 1 << 16


class Input:
    """`fd` is the container's end, None when there is none (yet, or any more)."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._reading = False
        self._keys: DetachKeys | None = None
        self._pending = b""

    @property
    def detached(self) -> bool:
        """Whether the user pressed the keys that leave the container."""
        return self._keys is not None and self._keys.detached

    def open(self, fd: int, *, reading: bool, keys: bytes | None = None) -> None:
        """Take the descriptor; `reading` passes standard input on, a terminal is left by `keys`."""
        os.set_blocking(fd, False)
        self.fd, self._reading = fd, reading
        if keys is not None:
            from wherry.cli.keys import DetachKeys

            self._keys = DetachKeys(keys)

    def register(self, poll: select.poll) -> None:
        """Ask for what is needed next: room for the bytes that wait, else more bytes."""
        if self.fd is None:
            return
        if self._pending:
            poll.register(self.fd, select.POLLOUT)
        elif self._reading:
            poll.register(_STDIN, select.POLLIN)

    def serve(self, ready: set[int]) -> bool:
        """Move bytes; say whether the input ended just now."""
        if self.fd is None or not self._reading:
            return False
        if not self._pending and _STDIN in ready:
            data = _read()
            if data == b"":
                return self._end()
            self._pending = self._keys.feed(data or b"") if self._keys else data or b""
        return not self._write(self.fd) if self._pending else False

    def close(self) -> None:
        """Let go of the container's end."""
        fd, self.fd, self._pending = self.fd, None, b""
        if fd is not None:
            os.close(fd)

    def _write(self, fd: int) -> bool:
        try:
            self._pending = self._pending[os.write(fd, self._pending) :]
        except BlockingIOError:
            return True
        except OSError:
            # EPIPE, or EIO of a terminal: nobody reads any more, as when a command ends early.
            self._end()
            return False
        return True

    def _end(self) -> bool:
        """Stop reading; a terminal stays ours, to tell it the window's size."""
        self._reading = False
        if self._keys is None:
            self.close()
        return True


def _read() -> bytes | None:
    """Return what standard input has, b"" at its end, None if there is nothing yet."""
    try:
        return os.read(_STDIN, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # EIO: our own terminal is gone
