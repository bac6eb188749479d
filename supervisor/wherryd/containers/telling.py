"""What the event log says of containers, in docker's words.

Call it where the change is noted for the state database, with no await in between: both are then written in
one commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherryd.events.log import NO_FACTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry_protocol.container_state import ExitStatus, OomVictim
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services


def tell(container: Container, services: Services, action: str, facts: Mapping[str, str] = NO_FACTS) -> None:
    """Put an event of a container into the log: its labels, image and name go with it, as docker has it."""
    config = container.config
    services.events.emit(
        "container",
        action,
        container.id,
        {**config.spec.labels, "image": config.image.reference, "name": container.name, **facts},
    )


def tell_end(container: Container, services: Services, status: ExitStatus) -> None:
    """Tell how a run ended, and that it was stopped if somebody asked for that."""
    if container.oom.fresh:
        tell_oom(container, services, status.oom_victim, container.oom.fresh)
    services.events.tally.exit(status)
    lasted = max(0.0, (container.finished_at or 0) - (container.started_at or 0))
    code = status.exit_code
    facts = {"exitCode": "unknown" if code is None else str(code), "execDuration": str(int(lasted))}
    if status.signal is not None:
        facts["signal"] = str(status.signal)
    if status.oom_killed:
        facts["oomKilled"] = "true"
        if status.oom_victim is not None:
            facts["oomVictim"] = status.oom_victim
    tell(container, services, "die", facts)
    if container.stopping:
        container.stopping = False
        tell(container, services, "stop")


def tell_oom(container: Container, services: Services, scope: OomVictim | None, kills: int) -> None:
    """Tell that the kernel killed so many processes for want of memory; see oom.py for the scope."""
    services.events.tally.oom_kills[scope or "unknown"] += kills
    tell(container, services, "oom", {"scope": scope or "unknown", "kills": str(kills)})


def tell_trouble(container: Container, services: Services, trouble: str | None) -> None:
    """Tell that the log cannot be written, or (None) that it can be again."""
    if trouble is None:
        tell(container, services, "log_resumed")
    else:
        tell(container, services, "log_stuck", {"reason": trouble})
