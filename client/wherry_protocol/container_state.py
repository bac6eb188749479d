"""What a container is, and how its run ended, on the wire."""

from __future__ import annotations

from wherry_protocol.health import Health, HealthCheck  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.log_options import NOTHING_DROPPED, LogDropped
from wherry_protocol.networks import Endpoint  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.ports import PortBinding  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.run_spec import NOTHING, Propagation, RunSpec
from wherry_protocol.typed import Literal, Mapping
from wherry_protocol.value import Value

State = Literal["created", "running", "paused", "restarting", "exited"]

OomVictim = Literal["init", "child", "group"]
"""Whom the kernel's OOM killer killed: the container's first process, another one, or all at once."""


class ExitStatus(Value):
    """How a container ended: a code, or a signal, or neither when that cannot be known.

    `oom_killed` says whether the kernel's OOM killer struck in this run: of `oom_kills` processes, the last
    time as `oom_victim` says (None: that cannot be known). They are None where the host has no way to tell.
    `error` says why it is unknown or never started.
    """

    code: int | None = None
    signal: int | None = None
    oom_killed: bool | None = None
    oom_kills: int | None = None
    oom_victim: OomVictim | None = None
    error: str | None = None

    @property
    def exit_code(self) -> int | None:
        """The code as a shell gives it (128+n for signal n); None when unknown."""
        if self.signal is not None:
            return 128 + self.signal
        return self.code

    @property
    def ok(self) -> bool:
        """Whether the command is known to have ended with code 0."""
        return self.code == 0


class ContainerSummary(Value):
    """A row of `ps`. Times are seconds since the epoch; `log_trouble` is why logging is stuck, if it is.

    `health` is "starting", "healthy" or "unhealthy", None without a healthcheck. `mounts` are
    host paths, and names of volumes. `oom_kills` are processes of the present or last run that the kernel
    killed for want of memory. `next_start_at` is set while it is restarting; `requires` are names.
    """

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    state: State
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    exit: ExitStatus | None = None
    labels: Mapping[str, str] = NOTHING
    mounts: tuple[str, ...] = ()
    log_trouble: str | None = None
    health: str | None = None
    ports: tuple[PortBinding, ...] = ()
    oom_kills: int = 0
    networks: tuple[str, ...] = ()
    next_start_at: float | None = None
    requires: tuple[str, ...] = ()


class MountPoint(Value):
    """A host path (type "bind") or volume that is mounted in a container. `name` is the volume's."""

    type: Literal["bind", "volume"]
    source: str
    target: str
    name: str | None = None
    read_only: bool = False
    recursive: bool = True
    propagation: Propagation = "rprivate"


class ContainerDetails(Value):
    """Everything the supervisor knows of a container; the command line prints it in docker's form.

    `path` and `args` are the resolved command; `env` is the resolved environment;
    `image_digest` is "sha256:…" for archives; `exposed_ports` are the image's, as "80/tcp".
    `health_check` has everything said that the request left out. `restart_count` is how often its restart
    policy has started it since somebody did; `start_error` why the last of these came to nothing.
    `log_dropped` is what a log that does not block has not of it.
    """

    summary: ContainerSummary
    spec: RunSpec
    path: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    user: str
    hostname: str
    stop_signal: str
    pid: int | None
    image_digest: str | None
    log_path: str
    directory: str
    cgroup_path: str
    restart_count: int = 0
    start_error: str | None = None
    health: Health | None = None
    health_check: HealthCheck | None = None
    mounts: tuple[MountPoint, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    log_dropped: LogDropped = NOTHING_DROPPED
