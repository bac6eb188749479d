"""A command on a terminal of its own, as a person uses it: type, look at the screen, resize."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from support.forms import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIZE = (24, 80)
TIMEOUT = within(10.0)


class Terminal:
    """A running command whose standard streams are a terminal. `text` is everything it showed so far."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.screen = b""
        self.master, slave = os.openpty()
        self.resize(*SIZE)
        self.before = self.attributes()
        """Its settings before the command could change them."""
        try:
            # setsid execs at once, so that the process is the command itself.
            self.process = subprocess.Popen(
                ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=environment
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def text(self) -> str:
        return self.screen.decode("utf-8", "backslashreplace")

    def send(self, keys: str | bytes) -> None:
        """Type."""
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def expect(self, words: str, timeout: float = TIMEOUT) -> None:
        """Wait until the words are on the screen; what was shown up to their end is then forgotten."""
        deadline = time.monotonic() + timeout
        while (at := self.screen.find(words.encode())) < 0:
            assert self._read(deadline), f"{words!r} was never shown, only {self.text!r}"
        self.screen = self.screen[at + len(words.encode()) :]

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[object]:
        """Return the terminal's settings (termios(3)), to see that they were restored."""
        return termios.tcgetattr(self.master)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Show everything to the end, and return the exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        return self.process.wait(max(deadline - time.monotonic(), 0.01))

    def close(self) -> None:
        """End the command if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
        data = b""
        if ready:
            # EIO: the last process that had the terminal open has ended.
            with suppress(OSError):
                data = os.read(self.master, 65536)
        self.screen += data
        return bool(data)
