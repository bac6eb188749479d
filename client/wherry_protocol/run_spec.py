"""What a container is asked to be, on the wire."""

from __future__ import annotations

from wherry_protocol.health import HealthCheck  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.limits import NO_LIMITS, Limits
from wherry_protocol.log_options import NO_LOG_OPTIONS, LogOptions
from wherry_protocol.networks import DEFAULT, EndpointSpec
from wherry_protocol.ports import PublishedPort  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.restarts import NO_RESTART, RestartPolicy
from wherry_protocol.typed import Literal, Mapping
from wherry_protocol.value import Value

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""

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
