"""The exit of a container whose launcher is gone, from its pidfd alone. Must never guess."""

from __future__ import annotations

import os
import select

import trio

from wherryd.kernel.pidfd import exit_status
from wherryd.launcher.outcome import Exit

_REAP_TIMEOUT = 1.0  # seconds between its end and its reaping by whoever inherited it


def exit_by(pidfd: int) -> Exit | None:
    """Return the exit of a process that has ended, if the kernel tells it; else None."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(0):
        return None
    status = exit_status(pidfd)
    return None if status is None else Exit.of_status(status)


async def wait_orphan(pidfd: int) -> Exit:
    """Return the exit of a process that somebody else reaps, soon or late; unknown before Linux 6.15.

    `pidfd` stays the caller's and may be closed meanwhile.
    """
    own = os.dup(pidfd)
    try:
        await trio.lowlevel.wait_readable(own)
        status = exit_status(own)
        if status is None:
            with trio.move_on_after(_REAP_TIMEOUT):
                await _wait_reaped(own)
            status = exit_status(own)
        return Exit.of_status(status)
    finally:
        os.close(own)


async def _wait_reaped(pidfd: int) -> None:
    # The end of a process is EPOLLIN, its reaping EPOLLHUP. Trio cannot wait for that alone; an epoll
    # that asks for no event gets it all the same.
    with select.epoll() as poll:
        poll.register(pidfd, 0)
        await trio.lowlevel.wait_readable(poll.fileno())
