"""Processes of a running container on the wire: entering it, looking at it, attaching to its first one."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.codec import unpack_list
from wherry_protocol.container_state import ExitStatus
from wherry_protocol.containers import Output, Started
from wherry_protocol.errors import ProtocolError
from wherry_protocol.run_spec import NOTHING
from wherry_protocol.typed import Any, ClassVar, Mapping  # noqa: TC001 - the codec evaluates annotations
from wherry_protocol.value import Value


class ExecSpec(Value):
    """What to execute beside a container's first process, as that one is: namespaces, limits, privileges.

    `env` is added to the container's own; `workdir` None and `user` "" are the container's, else as in
    RunSpec. `tty` gives it a terminal of `tty_size` (rows, columns) as 0, 1 and 2. Without one, `streams`
    says which of 0, 1 and 2 ride along with the request; the others are the container's /dev/null.

    Example:
        ExecSpec(args=("sh", "-c", "echo $GREETING"), env={"GREETING": "hi"}, streams=(1, 2))

    """

    args: tuple[str, ...]
    env: Mapping[str, str] = NOTHING
    workdir: str | None = None
    user: str = ""
    tty: bool = False
    tty_size: tuple[int, int] | None = None
    streams: tuple[int, ...] = ()

    _last: ClassVar[tuple[Any, ExecSpec] | None] = None

    @classmethod
    def from_wire(cls, data: Any, where: str = "", strict: bool = True) -> ExecSpec:
        """Do as any value does; it is the very one of the last time, if that came from the same."""
        last = cls._last
        if last is None or last[0] != data:
            last = cls._last = data, super().from_wire(data, where, strict)
        return last[1]


class ExecStarted(Value):
    """Event: the command is executing, as process `pid` of the host. `id` is 64 hex digits.

    With a tty its master rides along.
    """

    id: str
    pid: int


class Exec(Stream[ExitStatus]):
    """Execute a command in a running container; answered at its end.

    The first descriptor that rides along is the lifeline: the reading end of a pipe whose other end the
    client keeps. When that is closed the command is killed with all that it started, unless it was detached;
    the loss of this connection changes nothing. The `streams` of the specification follow, in their order.

    The lifeline may be one end of a pair of Unix sockets (SOCK_SEQPACKET) as well, whose other end the client
    keeps. The end of a command without a terminal is then told there, as soon as it is seen and at most once:
    a message with a msgpack list [pid, code, signal], of which one of code and signal is nil, and to which
    others may be added. The request is settled with that: no answer follows. Where none comes that way
    (the command could not be executed, SIGKILL ended it, the supervisor is older than that), the answer does
    as ever. A request that follows on the connection is taken up when the end is on record.

    `exec_id` is 64 hex digits of the client's choice, so that it can ask another supervisor for the end even
    if this one dies before it has told that the command executes; "" leaves the choice to the supervisor.
    """

    op = "exec"
    answer = ExitStatus
    events = (ExecStarted,)
    descriptors = 4
    ref: str
    spec: ExecSpec
    exec_id: str = ""


def exec_end(data: bytes) -> tuple[int, ExitStatus]:
    """Return process id and exit from what was told at the other end of a lifeline. Raises ProtocolError."""
    match unpack_list(data):
        case [int(pid), int(code), None, *_]:
            return pid, ExitStatus(code=code)
        case [int(pid), None, int(signal), *_]:
            return pid, ExitStatus(signal=signal)
        case other:
            raise ProtocolError(f"exec: {other!r:.80} was told of the command's end: no pid, code and signal")


class ExecDetached(Call[ExecStarted]):
    """Execute a command in a running container that nobody waits for; answered when it is executing."""

    op = "exec_detached"
    answer = ExecStarted
    ref: str
    spec: ExecSpec


class ExecSummary(Value):
    """A command that was started by exec. Times are seconds since the epoch; `exit` None: it runs."""

    id: str
    container_id: str
    pid: int
    args: tuple[str, ...]
    started_at: float
    tty: bool = False
    detached: bool = False
    exit: ExitStatus | None = None


class ExecList(Call[tuple[ExecSummary, ...]]):
    """Ask for the commands that exec started in a container (None: in any) and that run still."""

    op = "execs"
    answer = tuple[ExecSummary, ...]
    ref: str | None = None


class ExecWait(Stream[ExitStatus]):
    """Answered when the command has ended, at once if it has; the last few hundred exits are remembered."""

    op = "exec_wait"
    answer = ExitStatus
    exec_id: str


class ExecKill(Call[None]):
    """Send a signal, by name or number, to the command that exec started."""

    op = "exec_kill"
    exec_id: str
    signal: str = "SIGKILL"


class ExecDetach(Call[None]):
    """Let the command go on when its client goes; what it shows on its terminal from now on is dropped."""

    op = "exec_detach"
    exec_id: str


class Process(Value):
    """A process of a container, as the host's kernel sees it.

    `pid` and `ppid` are the host's ids, `cpid` the container's (None when it is outside of its pid
    namespace). `user` is the name in the container's /etc/passwd, else the number. `cpu_seconds` is what it
    used of all CPUs so far, `cpu_percent` the average over its life. Sizes are bytes, `started_at` seconds
    since the epoch. `state` is a letter as ps(1) gives it. `args` is empty for a zombie, and for a process
    that did not let itself be read in time.
    """

    pid: int
    ppid: int
    cpid: int | None
    uid: int
    gid: int
    user: str
    state: str
    comm: str
    args: tuple[str, ...]
    cpu_seconds: float
    cpu_percent: float
    rss: int
    vsize: int
    threads: int
    nice: int
    pgid: int
    sid: int
    tty: str | None
    started_at: float


class Top(Call[tuple[Process, ...]]):
    """Ask for every process of a running container, in the order of their start. Executes nothing in it."""

    op = "top"
    answer = tuple[Process, ...]
    ref: str


class Attach(Stream[ExitStatus]):
    """Stream a running container's output from now, with `logs` from the run's start; answered at its end.

    With Started comes the descriptor of its terminal, or of its standard input, if it has one.
    """

    op = "attach"
    answer = ExitStatus
    events = (Started, Output)
    ref: str
    logs: bool = False
