"""One container on its way, in a worker: namespaces, root, terminal, user, and its first process.

Runs in the container's mount namespace from the first mount on. Must never leave what it opened to the next.
"""

from __future__ import annotations

import errno
import os

from wherryd.kernel import failpoints
from wherryd.kernel.cgroups import open_cgroup, open_tasks
from wherryd.kernel.errors import KernelError
from wherryd.kernel.mounts import attach, clone_tree
from wherryd.kernel.namespaces import FLAGS
from wherryd.kernel.pty import open_pty, set_size
from wherryd.kernel.syscalls import (
    CLONE_INTO_CGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_PARENT,
    sethostname,
    setns,
)
from wherryd.launcher import child, root, source, user
from wherryd.launcher.kit import Kit, OwnNetwork, Shape
from wherryd.launcher.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.kernel.program import Program
    from wherryd.launcher.bounding import Bounding
    from wherryd.launcher.oom import OomScore
    from wherryd.launcher.plan import Plan


class Job:
    """One container on its way. `step` names where it is, `entered` which namespaces to come back from.

    `kit` is one that fits, and `network` a namespace for one that has its own; or it makes them.
    """

    def __init__(self, plan: Plan, fds: list[int], oom: OomScore, host: int) -> None:
        self.plan = plan
        self.shape = Shape(plan)
        self.entered = CLONE_NEWNS
        self.step = "plan"
        self.kit: Kit | None = None
        self.network: OwnNetwork | None = None
        self._joined: int | None = None
        self._oom = oom
        self._host = host
        self._cgroup = -1
        self._tasks: tuple[int, ...] = ()
        status, *self._streams = fds
        self.status = Status(status)
        if plan.network_fd:
            self._joined = self._streams.pop()

    def build(self, bounding: Bounding) -> None:
        """Take the steps of the plan up to the fork, and fork."""
        failpoints.hit("worker.build")
        bounding.narrow(self.plan.capabilities)
        kit = self._namespaces()
        self._at("mounts")
        asked = source.clone_asked(self.plan)
        kit.enter_root(self.plan)
        kit.finish_root(self.plan, self.network)
        root.mount_asked(self.plan, asked)
        self._at("cwd")
        root.make_cwd(self.plan)
        self._at("stdio")
        terminal = self._open_terminal() if self.plan.terminal else None
        stdio = self._stdio(terminal)
        self._at("user")
        who = user.resolve(self.plan.user)
        self._own_stdio(who, stdio)
        self._at("clone")
        program = child.prepare(self.plan, who, stdio, self._tasks, bounding.present, kit.masked)
        failpoints.hit("worker.fork")
        self._fork(program, terminal)

    def _at(self, step: str) -> None:
        self.step = step

    def _namespaces(self) -> Kit:
        self._at("namespaces")
        self._cgroup = open_cgroup(self.plan.cgroup)
        # Now: the host's cgroupfs is out of reach when they are needed.
        self._tasks = tuple(map(open_tasks, self.plan.v1_cgroups))
        kit = self.kit or Kit(self.shape, self._host)
        self._enter_network()
        if "uts" in self.plan.namespaces:
            sethostname(self.plan.hostname)
        return kit

    def _enter_network(self) -> None:
        """Be in the container's network namespace; the host's is where we come from."""
        if self._joined is not None:
            setns(self._joined, CLONE_NEWNET)
        elif "network" in self.plan.namespaces:
            self.network = self.network or OwnNetwork(self.plan, self._host)
            self.network.enter()
        else:
            return
        self.entered |= CLONE_NEWNET

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
        try:
            self._oom.set(self.plan.oom_score_adj)
            # Without a PID namespace of its own the child has neighbours: see Program.
            start = program.start if namespace else program.start_copy
            # CLONE_PARENT takes the exit signal over from us.
            process = start(CLONE_PARENT | CLONE_INTO_CGROUP | namespace, self._cgroup)
        finally:
            self._oom.restore()
        failpoints.hit("worker.forked")
        self.status.started(process, terminal[0] if terminal else None, program, self.plan.args[0])


def flags_of(namespaces: tuple[str, ...]) -> int:
    """Return the CLONE_NEW* flags. Raises KernelError for a name that we do not know."""
    unknown = [name for name in namespaces if name not in FLAGS]
    if unknown:
        raise KernelError("clone3", None, errno.EINVAL, f"there is no {unknown[0]} namespace")
    return sum(FLAGS[name] for name in namespaces)
