"""A worker: builds one container at a time, in its own memory, and forks its first process.

Long-lived because a fresh fork would pay for every page of the interpreter that it touches. It takes the
namespaces of a container on, makes the root, forks (the child is the launcher's), and goes back to the
host's. It alone waits for the container's files: when they hang, so does it, and nothing else.

    launcher → worker    a plan, with: the status socket, the standard streams, a network namespace if any
                         (join.py has the other kind of order: to enter a container that runs)
                         or PREPARE: make the kit for the next container, while there is time
    worker → launcher    one byte, when it is free again: FREE, or SPENT without a kit
    worker → status      "executing" pid, or "forked" pid and why it failed, with pidfd and terminal
"""

from __future__ import annotations

import _socket
import errno
import gc
import os
import sys

from wherryd.kernel.capabilities import last_cap
from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mounts import attach, clone_tree
from wherryd.kernel.namespaces import FLAGS
from wherryd.kernel.pty import open_pty, set_size
from wherryd.kernel.rlimits import set_rlimit
from wherryd.kernel.syscalls import (
    CLONE_INTO_CGROUP,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_PARENT,
    close_range,
    sethostname,
    setns,
    sigprocmask,
    unshare,
)
from wherryd.launcher import child, root, source, user, wire
from wherryd.launcher.exec_plan import JOIN
from wherryd.launcher.join import Join
from wherryd.launcher.kit import TAKEN_ON, Kit, Shape
from wherryd.launcher.plan import Plan
from wherryd.launcher.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from wherryd.kernel.program import Program

CONTROL_FD = 3
HOST_FD = 4
_OOM_FD = 5
_FIRST_FD = 6  # from here on the kit's, and those of the current job
_MAX_FD = (1 << 32) - 1
FREE = b"\x01"
SPENT = b"\x02"
PREPARE = "prepare"


class Worker:
    """The worker's loop. `host` is a pidfd of the launcher: its namespaces are the host's."""

    def __init__(self, control: _socket.socket, host: int) -> None:
        self._control = control
        self._host = host
        self._last_cap = last_cap()
        self._oom = OomScore()
        self._shape: Shape | None = None
        self._kit: Kit | None = None

    def run(self) -> None:
        """Serve until the launcher hangs up."""
        while True:
            spent = self._kit is None and self._shape is not None
            try:
                self._control.send(SPENT if spent else FREE)
                request = wire.receive(self._control)
            except (BrokenPipeError, ConnectionResetError):
                return
            if request is None:
                return
            self._obey(*request)

    def _obey(self, fields: tuple[Any, ...], fds: list[int]) -> None:
        if fields[0] == PREPARE:
            self._prepare()
        elif fields[0] == JOIN:
            self._do(Join(fields[1:], fds, self._oom))
        else:
            self._start(Plan.from_wire(fields), fds)

    def _prepare(self) -> None:
        if self._shape is not None:
            try:
                self._kit = Kit(self._shape, self._host)
            except OSError as error:
                # The next start makes its own, and says what is wrong.
                self._shape = None
                setns(self._host, TAKEN_ON)
                close_range(_FIRST_FD, _MAX_FD, 0)
                _complain(f"made no kit: {error}")

    def _start(self, plan: Plan, fds: list[int]) -> None:
        job = Job(plan, fds, self._oom, self._host)
        if self._kit is not None and self._kit.shape == job.shape:
            job.kit = self._kit
        self._kit, self._shape = None, job.shape
        self._do(job)

    def _do(self, job: Job | Join) -> None:
        try:
            job.build(self._last_cap)
        except OSError as error:
            job.status.failed(job.step, from_oserror(error, job.step))
        except Exception as error:  # noqa: BLE001 - a defect of ours is one container's, not the worker's
            job.status.failed(job.step, KernelError("internal", None, 0, f"{type(error).__name__}: {error}"))
        finally:
            setns(self._host, job.entered)
            os.umask(0)
            if self._kit is not None and job.entered & TAKEN_ON:
                self._kit.enter()
            _close_all_but(self._kit.fds if self._kit is not None else ())


class OomScore:
    """The worker's oom_score_adj, which a fork inherits. proc(5)."""

    def __init__(self) -> None:
        # Kept open: by the time of the fork, the host's /proc is out of reach.
        self._file = _place(os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC), _OOM_FD)
        self._own = int(os.read(self._file, 16))

    def raise_to(self, score: int) -> None:
        """Raise it, never lower it: that would need CAP_SYS_RESOURCE, and undo what the host decided."""
        if score > self._own:
            os.write(self._file, b"%d" % score)

    def restore(self, score: int) -> None:
        """Undo `raise_to`."""
        if score > self._own:
            os.write(self._file, b"%d" % self._own)


class Job:
    """One container on its way. `step` names where it is, `entered` which namespaces to come back from.

    `kit` is one of its shape, or it makes its own.
    """

    entered = CLONE_NEWNS

    def __init__(self, plan: Plan, fds: list[int], oom: OomScore, host: int) -> None:
        self.plan = plan
        self.shape = Shape(plan)
        self.step = "plan"
        self.kit: Kit | None = None
        self._network: int | None = None
        self._oom = oom
        self._host = host
        self._cgroup = -1
        status, *self._streams = fds
        self.status = Status(status)
        if plan.network_fd:
            self._network = self._streams.pop()

    def build(self, highest_cap: int) -> None:
        """Take the steps of the plan up to the fork, and fork."""
        kit = self._namespaces()
        mounted = self._mounts(kit)
        self._at("enter")
        root.enter(mounted)
        self._at("cwd")
        root.make_cwd(self.plan)
        self._at("stdio")
        terminal = self._open_terminal() if self.plan.terminal else None
        stdio = self._stdio(terminal)
        self._at("user")
        who = user.resolve(self.plan.user)
        self._own_stdio(who, stdio)
        self._at("clone")
        program = child.prepare(self.plan, who, stdio, highest_cap, kit.masked)
        self._fork(program, terminal)

    def _at(self, step: str) -> None:
        self.step = step

    def _namespaces(self) -> Kit:
        self._at("namespaces")
        self._cgroup = _open_cgroup(self.plan.cgroup)
        kit = self.kit or Kit(self.shape, self._host, self._network)
        unshare(CLONE_NEWNS)
        if "uts" in self.plan.namespaces:
            sethostname(self.plan.hostname)
        return kit

    def _mounts(self, kit: Kit) -> int:
        self._at("mounts")
        foreign = source.clone_foreign(self.plan)
        mounted = root.make_root(self.plan)
        root.mount_all(self.plan, mounted, kit, foreign)
        kit.masked.empty = root.hide(self.plan, mounted, kit.empty)
        return mounted

    def _open_terminal(self) -> tuple[int, int]:
        """Open a terminal of the container's own devpts, and make it its console."""
        master, slave = open_pty("/dev/pts/ptmx")
        if self.plan.console_size:
            set_size(slave, *self.plan.console_size)
        console = os.open("/dev/console", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        attach(clone_tree("/dev/pts/0", recursive=False), console)
        return master, slave

    def _stdio(self, terminal: tuple[int, int] | None) -> tuple[int, int, int]:
        if terminal is not None:
            slave = terminal[1]
            return slave, slave, slave
        if not self.plan.stdin:
            # The container's own: of the host's, root inside could change the mode.
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            return null, self._streams[0], self._streams[1]
        return self._streams[2], self._streams[0], self._streams[1]

    def _own_stdio(self, who: user.User, stdio: tuple[int, int, int]) -> None:
        # so that the command can open /dev/stdout and the like, as under docker
        if who.uid == 0 and who.gid == 0:
            return
        if self.plan.terminal:
            os.fchown(stdio[0], who.uid, -1)
            return
        for fd in stdio if self.plan.stdin else stdio[1:]:
            os.fchown(fd, who.uid, who.gid)

    def _fork(self, program: Program, terminal: tuple[int, int] | None) -> None:
        namespace = flags_of(self.plan.namespaces) & CLONE_NEWPID
        os.umask(self.plan.umask)
        self._oom.raise_to(self.plan.oom_score_adj)
        try:
            # Without a PID namespace of its own the child has neighbours: see Program.
            start = program.start if namespace else program.start_copy
            # CLONE_PARENT takes the exit signal over from us.
            process = start(CLONE_PARENT | CLONE_INTO_CGROUP | namespace, self._cgroup)
        finally:
            self._oom.restore(self.plan.oom_score_adj)
        self.status.started(process, terminal[0] if terminal else None, program, self.plan.args[0])


def _place(fd: int, target: int) -> int:
    if fd != target:
        os.dup2(fd, target, inheritable=False)
        os.close(fd)
    return target


def _open_cgroup(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open cgroup", path) from error


def flags_of(namespaces: tuple[str, ...]) -> int:
    """Return the CLONE_NEW* flags. Raises KernelError for a name that we do not know."""
    unknown = [name for name in namespaces if name not in FLAGS]
    if unknown:
        raise KernelError("clone3", None, errno.EINVAL, f"there is no {unknown[0]} namespace")
    return sum(FLAGS[name] for name in namespaces)


def _close_all_but(kept: tuple[int, ...]) -> None:
    first = _FIRST_FD
    for fd in sorted(kept):
        if fd > first:
            close_range(first, fd - 1, 0)
        first = fd + 1
    close_range(first, _MAX_FD, 0)


def _complain(text: str) -> None:
    print(f"wherryd: worker {os.getpid()} {text}", file=sys.stderr, flush=True)  # noqa: T201 - its journal


def run(control: int, host: int, nofile: tuple[int, int]) -> NoReturn:
    """Be a worker. Runs in a fork of the launcher, whose descriptors end here."""
    try:
        os.dup2(control, CONTROL_FD, inheritable=False)
        os.dup2(host, HOST_FD, inheritable=False)
        close_range(HOST_FD + 1, _MAX_FD, 0)
        sigprocmask()
        os.umask(0)
        set_rlimit("nofile", *nofile)
        gc.freeze()
        gc.disable()
        Worker(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL_FD), HOST_FD).run()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run the launcher's loop
        if isinstance(error, KernelError) and (error.op, error.errno) == ("setns", errno.ESRCH):
            os._exit(0)  # the launcher ended while we were busy, and its namespaces are no way back
        _complain(f"ended: {error!r}")
        os._exit(1)
    os._exit(0)
