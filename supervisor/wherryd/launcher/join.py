"""Entering a running container, in a worker: takes namespaces on, and forks the process beside the first.

    launcher → worker    JOIN and a plan, with: the status socket, the container's pidfd, standard streams

The container runs meanwhile and may be hostile. It sees nothing of us: the worker is in none of its pid
namespaces, and its child is not dumpable before it executes, so that nobody can trace it, reach its memory
(which is ours, see `may_share`) or open its descriptors, of which all but 0, 1 and 2 are closed by its first
calls.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from wherryd.kernel import failpoints
from wherryd.kernel.cgroups import open_cgroup, open_tasks
from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.namespaces import FLAGS
from wherryd.kernel.pty import open_pty, set_size
from wherryd.kernel.syscalls import CLONE_INTO_CGROUP, CLONE_NEWCGROUP, CLONE_PARENT, setns
from wherryd.launcher import child, user
from wherryd.launcher.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.kernel.program import Program
    from wherryd.launcher.bounding import Bounding
    from wherryd.launcher.exec_plan import ExecPlan, Sandbox
    from wherryd.launcher.oom import OomScore

_NULL = os.makedev(1, 3)


class Groups:
    """A container's cgroups, open for processes to join. `v1` are tasks files. Raises KernelError.

    They are its present run's for as long as they can be joined: the next run has others of the same names,
    and those of the last one are gone by then.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.v2 = open_cgroup(sandbox.cgroup)
        self.v1 = tuple(map(open_tasks, sandbox.v1_cgroups))
        self.fds = (self.v2, *self.v1)


class GroupsGone(Exception):  # noqa: N818 - as the others of this package: what happened
    """The cgroups that were open from before cannot be joined. Nothing is left of the try."""


class Join:
    """One process on its way into a container. `step` names where it is, `entered` what to come back from.

    The cgroup namespace is the child's to enter: from inside, the launcher's own group cannot be seen, and
    where v2 is mounted with nsdelegate, as systemd does, a clone from there into a group is ENOENT.
    """

    entered = sum(FLAGS.values()) & ~CLONE_NEWCGROUP

    def __init__(self, plan: ExecPlan, fds: list[int], oom: OomScore, known: Groups | None) -> None:
        self.plan = plan
        self.step = "plan"
        self.groups: Groups | None = None
        """The cgroups that it joined, for the next one."""
        self._known = known if known is not None and known.sandbox is plan.sandbox else None
        self._oom = oom
        status, self._container, *self._streams = fds
        self.status = Status(status)

    def build(self, bounding: Bounding) -> None:
        """Take the steps of the plan up to the fork, and fork.

        Raises GroupsGone: to be called again, back in the host's namespaces.
        """
        failpoints.hit("worker.join")
        bounding.narrow(self.plan.sandbox.capabilities)
        self.step = "cgroup"
        known, self._known = self._known, None
        groups = self.groups = known or Groups(self.plan.sandbox)
        self.step = "join"
        # Roots us and our directory in the container, too.
        setns(self._container, self.entered)
        self.step = "streams"
        _check(self.plan.streams, self._streams)
        self.step = "stdio"
        terminal = self._open_terminal() if self.plan.terminal else None
        stdio = self._stdio(terminal)
        self.step = "user"
        who = user.resolve_again(self.plan.user)
        _own(who, stdio, terminal=terminal is not None)
        self.step = "clone"
        fds = self._container, self.status.fd
        program = child.prepare_join(self.plan, who, stdio, groups.v1, fds, bounding.present)
        process = self._fork(program, who, groups.v2, known=known is not None)
        self.status.started(process, terminal[0] if terminal else None, program, self.plan.args[0])

    def _open_terminal(self) -> tuple[int, int]:
        master, slave = open_pty("/dev/pts/ptmx")
        if self.plan.console_size:
            set_size(slave, *self.plan.console_size)
        return master, slave

    def _stdio(self, terminal: tuple[int, int] | None) -> tuple[int, int, int]:
        if terminal is not None:
            return terminal[1], terminal[1], terminal[1]
        given = dict(zip(self.plan.streams, self._streams, strict=True))
        null = -1 if len(given) == 3 else _null()  # noqa: PLR2004 - each of the standard streams
        return given.get(0, null), given.get(1, null), given.get(2, null)

    def _fork(self, program: Program, who: user.User, cgroup: int, *, known: bool) -> tuple[int, int]:
        os.umask(self.plan.sandbox.umask)
        try:
            self._oom.set(self.plan.sandbox.oom_score_adj)
            start = program.start if may_share(self.plan.sandbox, who) else program.start_copy
            process = start(CLONE_PARENT | CLONE_INTO_CGROUP, cgroup)
        except KernelError as error:
            if known:
                raise GroupsGone from error
            raise
        finally:
            self._oom.restore()
        if known and (failed := program.failure()) and failed[0] == "cgroup":
            raise GroupsGone from failed[1]
        return process


def may_share(sandbox: Sandbox, who: user.User) -> bool:
    """Say whether the child may share our memory until it executes, with the container's processes around it.

    They reach into memory that is not dumpable with CAP_SYS_PTRACE only (ptrace(2)). A change of user makes
    it what fs.suid_dumpable says, for a moment. And when the container is out of memory, the child would be
    the largest of its processes, and the kernel would kill it, and us with it. For each there is a copy.
    """
    reachable = "sys_ptrace" in sandbox.capabilities or (who.uid, who.gid) != (0, 0)
    return not reachable and not sandbox.memory_bounded


def _check(numbers: tuple[int, ...], streams: list[int]) -> None:
    """Refuse what would lead out: from a directory of the host's, ".." is the host's (as CVE-2024-21626)."""
    for number, fd in zip(numbers, streams, strict=True):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        # What is open for writing is no directory (open(2), EISDIR).
        if not flags & os.O_ACCMODE and stat.S_ISDIR(os.fstat(fd).st_mode):
            hint = "it would lead out of the container"
            raise KernelError(f"stream {number}", None, errno.EISDIR, hint)
        if flags & os.O_PATH:
            raise KernelError(f"stream {number}", None, errno.EBADF, "it is only a path (O_PATH)")


def _null() -> int:
    """Return the container's own /dev/null: root inside could change the mode of the host's."""
    try:
        # O_NONBLOCK: something else may stand there by now.
        fd = os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(error, "open", "/dev/null") from error
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        raise KernelError("open", "/dev/null", errno.ENODEV, "the container has put something else there")
    os.set_blocking(fd, True)
    return fd


def _own(who: user.User, stdio: tuple[int, int, int], *, terminal: bool) -> None:
    """Give the command's user its terminal or pipes, so that it can open /dev/stdout, as under docker.

    Pipes only, and no named ones: of all else that a client hands over, the owner is the host's business.
    """
    if terminal:
        os.fchown(stdio[0], who.uid, -1)
        return
    if who.uid == 0 and who.gid == 0:
        return
    for fd in stdio:
        if _is_pipe(fd):
            os.fchown(fd, who.uid, who.gid)


def _is_pipe(fd: int) -> bool:
    status = os.fstat(fd)
    if not stat.S_ISFIFO(status.st_mode):
        return False
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        return os.fstat(read).st_dev == status.st_dev
    finally:
        os.close(read)
        os.close(write)
