"""What events and journal say of an exec. Of a probe of health, nothing but what debugging wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd.containers import telling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry_protocol.container_state import ExitStatus
    from wherryd.containers.services import Services
    from wherryd.processes.session import Session


def tell_life(session: Session, services: Services, status: ExitStatus) -> None:
    """Tell of start and end."""
    tell_start(session, services)
    tell_end(session, services, status)


def tell_start(session: Session, services: Services) -> None:
    """Tell that it executes."""
    for action in ("exec_create", "exec_start"):
        _tell(session, services, f"{action}: {' '.join(session.note.args)}", {})
    session.log("exec started", pid=session.pid)


def tell_end(session: Session, services: Services, status: ExitStatus) -> None:
    """Tell that it has ended, and how."""
    code = status.exit_code
    facts = {"exitCode": "unknown" if code is None else str(code)}
    if status.oom_killed:
        facts["oomKilled"] = "true"
    _tell(session, services, "exec_die", facts)
    session.log("exec ended", **facts)


def _tell(session: Session, services: Services, action: str, facts: Mapping[str, str]) -> None:
    if not session.probe:
        telling.tell(session.container, services, action, {"execID": session.id, **facts})
