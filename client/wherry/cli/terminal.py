"""The user's terminal: raw while a container's terminal is shown in it, always restored.

Owns termios calls and the window size; must never read or write the bytes.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty

from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Self

STDIN = 0


def terminal_size() -> tuple[int, int]:
    """Return (rows, columns) of the terminal on standard input. Raises BadRequest without one."""
    if not os.isatty(STDIN):
        raise BadRequest("-t: standard input is no terminal", hint="leave -t out, or run it in a terminal")
    columns, rows = os.get_terminal_size(STDIN)
    return rows, columns


def set_size(master: int, size: tuple[int, int]) -> None:
    """Give a terminal (rows, columns): TIOCSWINSZ, ioctl_tty(2)."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


class RawTerminal:
    """Puts the terminal on standard input into raw mode while it is entered."""

    def __init__(self) -> None:
        self._before: list[Any] = termios.tcgetattr(STDIN)

    def __enter__(self) -> Self:
        self.apply()
        return self

    def __exit__(self, *_exception: object) -> None:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, self._before)

    def apply(self) -> None:
        """Set raw mode, again after the shell took the terminal back (SIGCONT)."""
        tty.setraw(STDIN, termios.TCSADRAIN)
