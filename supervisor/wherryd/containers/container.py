"""One container: what was decided, where it is in its life, and the live things of its present run.

Owns the phase (moved through lifecycle's table only) and how it is shown. The task in supervise.py is the
only one that moves it while it runs; the registry finds it.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
from wherry_protocol.containers import Created
from wherry_protocol.health import Health
from wherry_protocol.networks import Endpoint
from wherry_protocol.ports import PortBinding
from wherryd.containers.config import Config
from wherryd.containers.lifecycle import Event, Phase, after, shown
from wherryd.containers.oom_verdict import OomState
from wherryd.containers.over import Over
from wherryd.containers.readers import Readers
from wherryd.containers.restart_policy import UNTRIED
from wherryd.containers.restart_state import RestartState
from wherryd.logs.limits import LogLimits
from wherryd.logs.log import Log
from wherryd.network.modes import names_of
from wherryd.network.rules import ports

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Run:
    """The live things of one run. The descriptors belong to this value until `close`.

    `log_offset` is where this run's output starts in the log.
    """

    pidfd: int
    log_offset: int
    stdin: int | None = None
    tty: int | None = None
    lost_groups: tuple[Path, ...] = ()
    """Groups of it that somebody has removed: see group_watch.py."""

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.pidfd, self.stdin, self.tty):
            if fd is not None:
                os.close(fd)
        self.stdin = self.tty = None

    def close_stdin(self) -> None:
        """Give up the writing end of standard input."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None


class Container:
    """A container and what is known of it. Times are seconds since the epoch."""

    def __init__(
        self, *, container_id: str, name: str, config: Config, directory: Path, created_at: float
    ) -> None:
        self.id = container_id
        self.name = name
        self.config = config
        self.directory = directory
        self.created_at = created_at
        self.phase = Phase.CREATED
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.exit: ExitStatus | None = None
        self.log = Log(directory, LogLimits.of(config.spec.log))
        self.log_trouble: str | None = None
        self.made_volumes: tuple[str, ...] = ()
        """Names of the volumes that were made for it, anonymous or not."""
        self.endpoints: tuple[Endpoint, ...] = ()
        """Where it is on networks, while it runs: see network/joining.py."""
        self.ports: tuple[PortBinding, ...] = ()
        """The ports that it publishes, while it runs: see network/rules/firewall.py."""
        self.changing_networks = trio.Lock()
        self.provisional = False
        """Set while a `run` starts it, or is to, for the first time: a crash takes it away."""
        self.recorded = True
        """Whether it is in the state database; a new one that is to run comes there while it is set up."""
        self.keep = False
        """Set while a restart ends the run: `--rm` waits."""
        self.lingers_until = 0.0
        """Until when `--rm` waits, on the event loop's clock: clients of another supervisor may come back."""
        self.health: Health | None = None
        """What the probes of its present or last run said; None when it has no healthcheck."""
        self.stopping = False
        """Set while a stop waits for the run to end: the event log says so."""
        self.restart = RestartState()
        """What its restart policy goes by."""
        self.oom = OomState()
        """What is known of OOM kills in its present or last run."""
        self.holds = 0
        """How many need it to stand still: see freezing.py."""
        self.readers = Readers()
        self.changing = trio.Lock()
        """Held while it is updated."""
        self.run: Run | None = None
        self.pid: int | None = None
        self.started = trio.Event()
        """Set when the start under way has come to its end, good or bad."""
        self.ended = Over()
        """Set when the present (or the next) run is over and recorded, or the container is removed."""
        self._next_ended: Over | None = None

    def move(self, event: Event) -> None:
        """Take the next phase. Raises Conflict when the present one does not allow the event."""
        self.phase = after(self.phase, event, self.name)
        if self.phase is Phase.CREATED and self.finished_at is not None:
            self.phase = Phase.EXITED

    def next_run(self) -> None:
        """Have `ended` be the end of the run that is to come, if that of the last one has been told."""
        if self.ended.is_set():
            self.ended, self._next_ended = self.next_end(), None

    def next_end(self) -> Over:
        """Return the end of the run that goes on, or that is to come."""
        if not self.ended.is_set():
            return self.ended
        if self._next_ended is None:
            self._next_ended = Over()
        return self._next_ended

    def never_ends(self) -> None:
        """Tell who waits that no run is to come any more: it is removed."""
        for over in (self.ended, self._next_ended):
            if over is not None:
                over.call_off(self.exit)

    @property
    def active(self) -> bool:
        """Whether it is alive, or its restart policy is about to start it again."""
        return self.alive or self.phase is Phase.RESTARTING

    @property
    def alive(self) -> bool:
        """Whether its processes exist (or may, while it starts)."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED)

    def identity(self) -> Created:
        """Return id and name."""
        return Created(id=self.id, name=self.name)

    def status_json(self) -> dict[str, Any]:
        """Return what changes of it, for the state database."""
        health = {"health": self.health.to_wire()} if self.health is not None else {}
        endpoints = {"endpoints": [each.to_wire() for each in self.endpoints]} if self.endpoints else {}
        bindings = {"ports": [each.to_wire() for each in self.ports]} if self.ports else {}
        restart = {"restart": said} if (said := self.restart.to_json()) else {}
        return {
            **health,
            **endpoints,
            **bindings,
            **restart,
            "phase": self._lasting_phase.value,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "exit": self.exit and self.exit.to_wire(),
            **({"log_dropped": self.log.told_dropped} if self.log.told_dropped[0] else {}),
            **({"oom": self.oom.to_json()} if self.oom.told else {}),
            "pid": self.pid,
        }

    @property
    def _lasting_phase(self) -> Phase:
        """What to make of it after a crash: one that was there before is as it was."""
        if self.provisional and self.phase is Phase.CREATED:
            return Phase.STARTING  # it waits for what it requires
        if self.phase is not Phase.STARTING or self.provisional:
            return self.phase
        if self.restart.tries is not UNTRIED:
            return Phase.RESTARTING  # its policy starts it
        return Phase.CREATED if self.finished_at is None else Phase.EXITED

    def restore(self, status: dict[str, Any]) -> None:
        """Take back what `status_json` gave."""
        self.phase = Phase(status["phase"])
        self.started_at = status["started_at"]
        self.finished_at = status["finished_at"]
        self.exit = ExitStatus.from_wire(status["exit"]) if status["exit"] is not None else None
        self.pid = status["pid"]
        self.oom = OomState(*status.get("oom", ()))
        count, lines = status.get("log_dropped", (0, 0))
        self.log.told_dropped = count, lines
        self.health = Health.from_wire(status["health"]) if "health" in status else None
        self.endpoints = tuple(map(Endpoint.from_wire, status.get("endpoints", ())))
        self.ports = tuple(map(PortBinding.from_wire, status.get("ports", ())))
        self.restart.restore(status.get("restart", {}))
        if not self.alive and self.exit is not None:
            self.ended.set(self.exit)

    def summary(self) -> ContainerSummary:
        """Return its row of `ps`."""
        return ContainerSummary(
            id=self.id,
            name=self.name,
            image=self.config.image.reference,
            command=self.config.args,
            state=shown(
                self.phase, ended_before=self.finished_at is not None, again=self.restart.tries is not UNTRIED
            ),
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit=self.exit,
            labels=self.config.spec.labels,
            mounts=tuple([mount.name or mount.source for mount in self.config.mounts]),
            log_trouble=self.log_trouble,
            health=health.status if (health := self.shown_health) else None,
            networks=names_of(self.config.spec),
            ports=ports.shown(self.ports, self.config) if self.alive else (),
            oom_kills=(self.exit.oom_kills or 0) if self.exit is not None else self.oom.told,
            next_start_at=self.restart.due_at if self.phase is Phase.RESTARTING else None,
            requires=self.config.spec.requires,
        )

    @property
    def shown_health(self) -> Health | None:
        """Its health as people see it: what does not run is not healthy, as docker has it."""
        if self.health is None or self.alive:
            return self.health
        return self.health.replace(status="unhealthy")

    def details(self, cgroup_path: str) -> ContainerDetails:
        """Return everything known of it."""
        config = self.config
        return ContainerDetails(
            summary=self.summary(),
            spec=config.spec,
            path=config.args[0],
            args=config.args[1:],
            env=config.env,
            workdir=config.workdir,
            user=config.user,
            hostname=config.hostname,
            stop_signal=signal_name(config.stop_signal),
            pid=self.pid if self.alive else None,
            image_digest=config.image.digest,
            exposed_ports=config.image.config.exposed_ports,
            log_path=str(self.directory / "log"),
            directory=str(self.directory),
            cgroup_path=cgroup_path,
            restart_count=self.restart.tries.count,
            start_error=self.restart.error,
            mounts=config.mounts,
            health=self.shown_health,
            health_check=config.health,
            endpoints=self.endpoints,
            log_dropped=self.log.dropped,
        )


def signal_name(number: int) -> str:
    """Return "SIGTERM" for 15; a real-time signal stays a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def restored(
    container_id: str, name: str, config: dict[str, Any], status: dict[str, Any], containers_dir: Path
) -> Container:
    """Return the container that a row of the state database, or its copy, tells of."""
    container = Container(
        container_id=container_id,
        name=name,
        config=Config.from_json(config),
        directory=containers_dir / container_id,
        created_at=status["created_at"],
    )
    container.restore(status)
    return container
