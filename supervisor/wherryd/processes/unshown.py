"""The terminal of an exec whose client has left: what it shows is taken and dropped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from wherryd.processes.session import Session

PACE = 0.02
"""Seconds between looks at a terminal that nobody shows: what it prints must not keep us busy."""


async def show_nobody(session: Session, tty: int) -> None:
    """Take what a terminal shows once its client has left: a full one would stop the command."""
    if not session.detached:
        await session.left.wait()
    os.set_blocking(tty, False)
    shown = True
    while shown:
        await trio.lowlevel.wait_readable(tty)
        shown = _take(tty)
        await trio.sleep(PACE)


def _take(tty: int) -> bool:
    """Read what a terminal shows now; False when it is over."""
    try:
        return os.read(tty, 65536) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False  # EIO: nobody has the other end open
