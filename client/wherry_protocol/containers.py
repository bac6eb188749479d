"""Containers on the wire: how one is specified, what it is doing, and every request about it."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.health import Health, HealthCheck  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.limits import NO_LIMITS, Limits
from wherry_protocol.log_options import NO_LOG_OPTIONS, NOTHING_DROPPED, LogDropped, LogGap, LogOptions
from wherry_protocol.networks import DEFAULT, Endpoint, EndpointSpec
from wherry_protocol.ports import PortBinding, PublishedPort  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.restarts import NO_RESTART, RestartPolicy
from wherry_protocol.system import Progress
from wherry_protocol.typed import Literal, Mapping
from wherry_protocol.value import Value

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""

State = Literal["created", "running", "paused", "restarting", "exited"]

OomVictim = Literal["init", "child", "group"]
"""Whom the kernel's OOM killer killed: the container's first process, another one, or all at once."""

DEFAULT_STOP_TIMEOUT = 10.0
"""Seconds between the stop signal and SIGKILL, as docker."""


Propagation = Literal["rprivate", "private", "rslave", "slave"]
"""What of later mounts passes: nothing, or (slave) those that the host makes below the source."""


class Volume(Value):
    """A host file or directory, or a volume, in the container at the absolute path `target`.

    `source` is an absolute path of the host; or the name of a volume, which is made if it is missing; or "":
    a new volume that goes when `rm --volumes` or `auto_remove` takes the container away.
    Read-only is recursive. Of a path, `recursive` takes the mounts below it along, and `propagation` says
    whether later ones arrive. An empty volume is filled from the image's directory at `target`, unless `copy`
    is False; `labels` are for a volume that is made.
    """

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    propagation: Propagation = "rprivate"
    copy: bool = True
    labels: Mapping[str, str] = NOTHING


class Tmpfs(Value):
    """A tmpfs in the container. `size` in bytes (None: half the memory); `mode` e.g. 0o1777."""

    target: str
    size: int | None = None
    mode: int = 0o1777
    read_only: bool = False
    exec: bool = False


class Ulimit(Value):
    """A resource limit (getrlimit(2)): name without RLIMIT_, lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class RunSpec(Value):
    """What to run and how: everything that `create` fixes for a container's life.

    `image` is "host", a path of a directory or archive, or a name in the store; relative paths
    count from `base_dir` (the client fills in its own working directory).
    `entrypoint` None takes the image's; () clears it. `command` () takes the image's.
    `user` is "", "name", "uid", "name:group" or "uid:gid", resolved in the container's own files.
    `volumes_from` are containers ("NAME", "NAME:ro") whose host paths and volumes are mounted here too.
    `stdin` keeps a pipe open for the container (-i); `tty` gives it a terminal of `tty_size`
    (rows, columns). `stop_timeout` is in seconds; `stop_signal` None takes the image's, else SIGTERM.
    `health` None is the image's healthcheck.
    `network` is the name of a network, "none" (loopback only), "host", or "container:NAME" (that one's);
    what is asked of it, and of further networks, is in `endpoints`. `dns`, `dns_search` and `dns_options`
    replace the host's in resolv.conf; `extra_hosts` are "NAME:IP" ("NAME:host-gateway": the bridge) for
    /etc/hosts. `ports` are reachable from outside; `publish_all` adds what the image or `expose` ("80/tcp")
    names, each at a free port of the host.
    `restart` says whether it is started again when it has ended. `requires` are names of containers that are
    started before it, and have to be healthy if they have a healthcheck. `log` bounds what is
    kept of its output.

    Example:
        RunSpec(image="host", command=("sh", "-c", "echo $GREETING"), env={"GREETING": "hi"})

    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str | None = None
    base_dir: str | None = None
    env: Mapping[str, str] = NOTHING
    volumes: tuple[Volume, ...] = ()
    volumes_from: tuple[str, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    workdir: str | None = None
    user: str = ""
    hostname: str | None = None
    read_only: bool = False
    init: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    labels: Mapping[str, str] = NOTHING
    stop_signal: str | None = None
    stop_timeout: float = DEFAULT_STOP_TIMEOUT
    network: str = DEFAULT
    endpoints: tuple[EndpointSpec, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False
    tty_size: tuple[int, int] | None = None
    auto_remove: bool = False
    health: HealthCheck | None = None
    limits: Limits = NO_LIMITS
    restart: RestartPolicy = NO_RESTART
    requires: tuple[str, ...] = ()
    log: LogOptions = NO_LOG_OPTIONS


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


class Created(Value):
    """A container's identity: `id` is 64 hex digits."""

    id: str
    name: str


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


class Create(Call[Created]):
    """Make a container without starting it."""

    op = "create"
    answer = Created
    spec: RunSpec


class Run(Call[Created]):
    """Create and start; answered when the command is executing. A start that fails leaves nothing."""

    op = "run"
    answer = Created
    spec: RunSpec


class DryRun(Call[str]):
    """Answer with the plan that `run` would apply, as printable text; nothing is made."""

    op = "dry_run"
    answer = str
    spec: RunSpec


class Started(Value):
    """Event: the command is executing.

    The descriptor that rides along is, with a tty, the terminal's master; with stdin and no tty,
    the write end of the standard input pipe; else there is none. `place` is where its output begins in the
    log: see Output.
    """

    id: str
    name: str
    place: int = 0


class Output(Value):
    """Event: bytes the container wrote. `stream` is 1 (stdout, or the terminal) or 2 (stderr).

    `time` is nanoseconds since the epoch when the supervisor took them from the pipe. `place` is where in the
    log they end: what another request reads `after` it is what follows. With a `gap` there are none: it says
    what is missing in their place.
    """

    stream: int
    time: int
    data: bytes
    place: int = 0
    gap: LogGap | None = None


class RunAttached(Stream[ExitStatus]):
    """Create, start, and stream the output until the end; hanging up leaves the container running."""

    op = "run_attached"
    answer = ExitStatus
    events = (Progress, Started, Output)
    spec: RunSpec


class StartAttached(Stream[ExitStatus]):
    """Start a created or exited container and stream its output until the end."""

    op = "start_attached"
    answer = ExitStatus
    events = (Started, Output)
    ref: str


class CloseStdin(Call[None]):
    """Give the container end of file on its standard input pipe."""

    op = "close_stdin"
    ref: str


class Start(Call[None]):
    """Start a created or exited container."""

    op = "start"
    ref: str


class Stop(Call[ExitStatus]):
    """Send the stop signal, after `timeout` seconds (None: the container's own) SIGKILL; answered at the end.

    Stopping a container that has ended answers at once with its exit.
    """

    op = "stop"
    answer = ExitStatus
    ref: str
    timeout: float | None = None


class Kill(Call[None]):
    """Send a signal, by name ("TERM", "SIGTERM") or number ("15"), to the container's first process."""

    op = "kill"
    ref: str
    signal: str = "SIGKILL"


class Restart(Call[None]):
    """Stop (if running) and start again."""

    op = "restart"
    ref: str
    timeout: float | None = None


class Pause(Call[None]):
    """Freeze every process of the container (cgroup.freeze)."""

    op = "pause"
    ref: str


class Unpause(Call[None]):
    """Thaw a paused container."""

    op = "unpause"
    ref: str


class Wait(Call[ExitStatus]):
    """Answered when the container has ended; at once if it has."""

    op = "wait"
    answer = ExitStatus
    repeatable = True
    ref: str


class Remove(Call[None]):
    """Remove an ended container, with `force` a running one too (SIGKILL).

    `volumes`: with it go the volumes that were made for it without a name, if no other container has them.
    """

    op = "rm"
    ref: str
    force: bool = False
    volumes: bool = False


class Rename(Call[None]):
    """Give a container another name."""

    op = "rename"
    ref: str
    name: str


class Inspect(Call[ContainerDetails]):
    """Ask for everything about one container."""

    op = "inspect"
    answer = ContainerDetails
    ref: str


class List(Call[tuple[ContainerSummary, ...]]):
    """Ask for containers, newest first; running and paused ones only, unless `all`.

    Filters, as docker: ("name", substring), ("id", prefix), ("status", state), ("label", key or key=value),
    ("exited", code), ("ancestor", image), ("volume", name or host path), ("network", name),
    ("health", "healthy" and so on, or "none"). Same key twice: either; different keys: both. A status filter
    implies `all`.
    """

    op = "ps"
    answer = tuple[ContainerSummary, ...]
    all: bool = False
    filters: tuple[tuple[str, str], ...] = ()


class Logs(Stream[None]):
    """Stream what was logged: the last `tail` lines (None: all) within [since, until).

    Times are seconds since the epoch. With `follow` until the container ends.
    `streams` picks 1 (stdout), 2 (stderr) or both. Nothing up to the place `after` is sent, and a gap comes
    where what follows it is not kept any more. When `anchored`, the first Output is without data: its place
    is where reading begins.
    """

    op = "logs"
    events = (Output,)
    repeatable = True
    ref: str
    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None
    streams: tuple[int, ...] = (1, 2)
    after: int | None = None
    anchored: bool = False
