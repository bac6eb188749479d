"""Pseudo-terminals out of a given devpts instance. pts(4), ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from wherryd.kernel.errors import from_oserror

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def open_pty(ptmx: str, dirfd: int | None = None) -> tuple[int, int]:
    """Return (master, slave) of a new terminal; the slave is opened without its path. Raises KernelError."""
    try:
        master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=dirfd)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open pty", ptmx) from error


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set the window size; the foreground process group gets SIGWINCH if it changed."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
