"""The forked child: applies a plan step by step and executes the command.

Runs between clone3 and execve in a copy of the launcher. Must never return to the launcher's loop,
and never hand anything of the launcher's to the command: only descriptors 0, 1 and 2 survive.

What goes wrong travels as one record on the status socket, which execve closes; the mark before it
tells "executed" from "killed while it was being set up".
"""

from __future__ import annotations

import errno
import gc
import os

import _socket

from wherryd.kernel import process
from wherryd.kernel.capabilities import last_cap, limit_bounding, set_capabilities
from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.mounts import attach, clone_tree
from wherryd.kernel.namespaces import FLAGS, loopback_up
from wherryd.kernel.pty import make_controlling, open_pty, set_size
from wherryd.kernel.rlimits import get_rlimit, set_rlimit
from wherryd.kernel.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWPID,
    close_range,
    setns,
    sethostname,
    sigprocmask,
    unshare,
)
from wherryd.launcher import root, user, wire
from wherryd.launcher.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MARK = b"\xc1"  # the one byte that begins no msgpack value
STATUS_FD = 3
NETWORK_FD = 4
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_FD = (1 << 32) - 1
_LAST_CAP = last_cap()
_NOFILE = get_rlimit("nofile")

with open("/proc/self/oom_score_adj", encoding="ascii") as _file:
    _OOM_SCORE_ADJ = int(_file.read())


class Child:
    """The steps, in order; what one finds out and a later one needs is kept here."""

    def __init__(self, plan: Plan, status: _socket.socket) -> None:
        self.plan = plan
        self.status = status
        self.env = dict(plan.env)
        self.root = -1
        self.terminal: tuple[int, int] | None = None

    def detach(self) -> None:
        """Leave what we share with the launcher."""
        os.umask(0)
        sigprocmask()
        os.setsid()
        process.join_new_session_keyring()
        process.set_comm(self.plan.title)
        if self.plan.oom_score_adj > _OOM_SCORE_ADJ:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(self.plan.oom_score_adj))

    def namespaces(self) -> None:
        """Enter the namespaces; the cgroup one here, because clone3 would root it at the launcher's group."""
        if self.plan.network_fd:
            setns(NETWORK_FD, CLONE_NEWNET)
        unshare(flags_of(self.plan.namespaces) & ~CLONE_NEWPID)
        if "network" in self.plan.namespaces:
            loopback_up()
        sethostname(self.plan.hostname)

    def mounts(self) -> None:
        """Build the root file system."""
        self.root = root.make_root(self.plan)
        root.mount_all(self.plan, self.root)
        root.hide(self.plan, self.root)

    def enter(self) -> None:
        """Leave the host's files behind, with every descriptor that could lead back."""
        os.dup2(self.root, NETWORK_FD)
        close_range(NETWORK_FD + 1, _MAX_FD, 0)
        root.enter(self.plan, NETWORK_FD)
        os.close(NETWORK_FD)

    def stdio(self) -> None:
        """Open the terminal, or the container's own /dev/null as standard input."""
        if self.plan.terminal:
            self.terminal = self._open_terminal()
        elif not self.plan.stdin:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, 0)

    def _open_terminal(self) -> tuple[int, int]:
        master, slave = open_pty("/dev/pts/ptmx")
        if self.plan.console_size:
            set_size(slave, *self.plan.console_size)
        make_controlling(slave)
        for fd in range(3):
            os.dup2(slave, fd)
        console = os.open("/dev/console", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        attach(clone_tree("/dev/pts/0", recursive=False), console)
        return master, slave

    def limits(self) -> None:
        """Set the resource limits; the launcher's own raised one for descriptors goes no further."""
        set_rlimit("nofile", *_NOFILE)
        for rlimit in self.plan.rlimits:
            set_rlimit(rlimit.name, rlimit.soft, rlimit.hard)

    def identity(self) -> None:
        """Become the user, with no more privileges than planned."""
        who = user.resolve(self.plan.user)
        if who.home is not None:
            self.env.setdefault("HOME", who.home)
        if who.uid or who.gid:
            self._own_stdio(who)
        limit_bounding(self.plan.capabilities, _LAST_CAP)
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        set_capabilities(() if who.uid else self.plan.capabilities)
        os.umask(self.plan.umask)
        if self.plan.no_new_privileges:
            process.set_no_new_privs()

    def _own_stdio(self, who: user.User) -> None:
        # so that the command can open /dev/stdout and the like, as under docker
        terminal = self.plan.terminal
        for fd in range(0 if terminal or self.plan.stdin else 1, 3):
            os.fchown(fd, who.uid, -1 if terminal else who.gid)

    def execute(self) -> None:
        """Execute the command; returns only by raising."""
        wire.send(self.status, MARK, self.terminal[:1] if self.terminal else ())
        if self.plan.seccomp is not None:
            process.install_seccomp(self.plan.seccomp)
        execute(self.plan.args, self.env)


_STEPS: tuple[tuple[str, Callable[[Child], None]], ...] = (
    ("detach", Child.detach),
    ("namespaces", Child.namespaces),
    ("mounts", Child.mounts),
    ("enter", Child.enter),
    ("stdio", Child.stdio),
    ("limits", Child.limits),
    ("user", Child.identity),
    ("exec", Child.execute),
)


def flags_of(namespaces: tuple[str, ...]) -> int:
    """Return the CLONE_NEW* flags. Raises KernelError for a name that we do not know."""
    unknown = [name for name in namespaces if name not in FLAGS]
    if unknown:
        raise KernelError("clone3", None, errno.EINVAL, f"there is no {unknown[0]} namespace")
    return sum(FLAGS[name] for name in namespaces)


def run(plan: bytes, stdio: list[int], status: _socket.socket, network: int | None) -> NoReturn:
    """Take over the forked process: `stdio` is [stdout, stderr], with a pipe for standard input behind it."""
    gc.disable()
    step = "descriptors"
    try:
        _place(stdio, status.fileno(), network)
        status = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, STATUS_FD)
        child = Child(Plan.from_wire(wire.unpack(plan)), status)
        for step, action in _STEPS:  # noqa: B007 - the failure names the step
            action(child)
    except OSError as error:
        failure = from_oserror(error, step)
        _report(status, step, failure.op, failure.path, failure.errno, failure.hint)
    except BaseException as error:  # noqa: BLE001 - a defect of ours must not run the launcher's loop in a child
        _report(status, step, "internal", None, 0, f"{type(error).__name__}: {error}")
    os._exit(125)


def _place(stdio: list[int], status: int, network: int | None) -> None:
    # The launcher holds descriptors 3 and 4 itself, so no source is in the way of a target.
    for source, target in zip(stdio, (1, 2, 0), strict=False):
        os.dup2(source, target)
    os.dup2(status, STATUS_FD, inheritable=False)
    if network is not None:
        os.dup2(network, NETWORK_FD, inheritable=False)
    close_range(NETWORK_FD + (network is not None), _MAX_FD, 0)


def _report(status: _socket.socket, *record: object) -> None:
    try:
        wire.send(status, wire.pack(*record))
    except OSError:
        os._exit(125)  # the launcher is gone: nobody is left to tell


def execute(args: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """Execute args[0], searched for in the environment's PATH like a shell does. Raises KernelError."""
    command = args[0]
    if "/" in command:
        raise _try(command, args, env)
    denied: KernelError | None = None
    for directory in env.get("PATH", _DEFAULT_PATH).split(":"):
        error = _try(f"{directory or '.'}/{command}", args, env)
        if error.errno == errno.EACCES:
            denied = denied or error
        elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise error
    raise denied or KernelError("execve", command, errno.ENOENT, "no such command in the container's PATH")


def _try(path: str, args: tuple[str, ...], env: dict[str, str]) -> KernelError:
    try:
        os.execve(path, args, env)  # noqa: S606 - starting a program without a shell is the purpose
    except OSError as error:
        number = error.errno or 0
    except ValueError as error:
        return KernelError("execve", path, errno.EINVAL, str(error))
    interpreter = number == errno.ENOENT and os.path.exists(path)
    hint = "it exists, but its interpreter or loader does not" if interpreter else None
    if number == errno.EACCES and os.path.isdir(path):
        hint = "it is a directory"
    return KernelError("execve", path, number, hint)
