"""Every request about containers, on the wire.

What one is asked to be is in run_spec.py, what one is, and how its run ended, in container_state.py.
"""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
from wherry_protocol.log_options import LogGap  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.run_spec import RunSpec  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.system import Progress
from wherry_protocol.value import Value


class Created(Value):
    """A container's identity: `id` is 64 hex digits."""

    id: str
    name: str


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
