"""Who sent the SIGKILL that ended an exec: its container's end, the kernel for want of memory, or anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.container_state import ExitStatus
from wherryd.containers.oom import last_kills

if TYPE_CHECKING:
    from wherryd.containers.services import Services
    from wherryd.processes.session import Session

_SIGKILL = 9


async def verdict(session: Session, services: Services) -> ExitStatus:
    """Return the exit with what can be found out; waits a little for the container's end."""
    if not session.killed and await session.container_end.came():
        return ExitStatus(signal=_SIGKILL, error=f"container {session.container.name} ended")
    return ExitStatus(signal=_SIGKILL, oom_killed=_was_oom(session, services))


def _was_oom(session: Session, services: Services) -> bool | None:
    """Say whether the kernel killed it for want of memory, by what is said in oom_verdict.py."""
    kills = last_kills(services.group_of(session.container.id))
    if kills is None:
        return None
    dying = session.suspect is not None and session.suspect.dying
    if session.killed and not dying:
        return False
    return session.container.oom.blame(kills, dying=dying)
