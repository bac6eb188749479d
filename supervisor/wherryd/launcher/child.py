"""The container's first process, prepared before it exists: the calls that only it can make for itself.

They are made between clone3 and execve, in the namespaces and the root that the worker has taken on. Must
never hand anything of the worker's to the command: only descriptors 0, 1 and 2 survive.
"""

from __future__ import annotations

import errno
import os

from wherryd.kernel.errors import KernelError
from wherryd.kernel.mount_syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)
from wherryd.kernel.program import Program
from wherryd.kernel.syscalls import CLONE_NEWCGROUP
from wherryd.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherryd.launcher.exec_plan import ExecPlan, Sandbox
    from wherryd.launcher.plan import Mount, Plan, Rlimit
    from wherryd.launcher.user import User

DEFERRED = ("proc", "cgroup2")
"""File systems that show the namespaces of whoever mounts them: the child must."""

_STATUS_FD = 3
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC
_FLAGS = {"ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}


def deferred(path: str) -> bool:
    """Say whether a path can only be hidden by the child, because it lies on a mount that the child makes."""
    return path.startswith("/proc/")


class Masked:
    """The deferred ones of masked paths, by kind; `empty` is where an empty read-only directory is, if any.

    The kind is looked up in the host's /proc, whose entries are the same: to try which mount fits costs
    the kernel a grace period of RCU, 150 µs, for each that does not.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        there = [path for path in paths if deferred(path) and os.path.exists(path)]
        self.directories = [path for path in there if os.path.isdir(path)]
        self.files = [path for path in there if path not in self.directories]
        self.empty: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # compared only


def prepare(
    plan: Plan,
    who: User,
    stdio: tuple[int, int, int],
    tasks: tuple[int, ...],
    bounding: tuple[int, ...],
    masked: Masked,
) -> Program:
    """Return the calls of the child, to the execution of the command.

    `stdio` becomes 0, 1 and 2; `tasks` are what v1 cgroups are joined by, close-on-exec; `bounding` is our
    bounding set.
    """
    program = Program()
    _session(program, plan.title, stdio, tasks, _STATUS_FD, terminal=plan.terminal)
    _mounts(program, plan, masked)
    _limits(program, plan.rlimits)
    _join_cgroups(program, tasks)
    if tasks and "cgroup" in plan.namespaces:
        # Once more: what it is in now is to be the root of what it sees.
        program.unshare(CLONE_NEWCGROUP)
    _identity(program, plan, who, bounding)
    _execution(program, plan.args, dict(plan.env), who.home, plan.seccomp)
    return program


def prepare_join(
    plan: ExecPlan,
    who: User,
    stdio: tuple[int, int, int],
    tasks: tuple[int, ...],
    fds: tuple[int, int],
    bounding: tuple[int, ...],
) -> Program:
    """Return the calls of a process that joins a container, whose namespaces the worker has taken on but one.

    That one, of cgroups, is entered through the first of `fds`, a pidfd; the other is the status socket. The
    calls of the process before are taken again, as far as they are the same.
    """
    own = (plan.terminal, plan.cwd, stdio, tasks, *fds)
    entry = (plan.sandbox, own, bounding, (who.uid, who.gid, tuple(who.groups)))
    command = (plan.args, dict(plan.env), who.home, plan.sandbox.seccomp)
    return _known("join", (entry, command), _whole)


def _whole(program: Program, entry: tuple[Any, ...], command: tuple[Any, ...]) -> None:
    args, env, home, seccomp = command
    program.extend(_known("entry", entry, _entry_calls))
    _execution(program, args, {**env}, home, seccomp)


def _entry_calls(
    program: Program,
    sandbox: Sandbox,
    own: tuple[Any, ...],
    bounding: tuple[int, ...],
    who: tuple[int, int, tuple[int, ...]],
) -> None:
    terminal, cwd, stdio, tasks, container, status = own
    program.step = "join"
    program.setns(container, CLONE_NEWCGROUP)
    program.step = "detach"
    program.dup(status, _STATUS_FD, cloexec=True)
    _session(program, sandbox.title, stdio, tasks, _STATUS_FD + 1, terminal=terminal)
    program.step = "cwd"
    # After every descriptor of ours is closed: a path through /proc/self/fd could lead out (CVE-2024-21626).
    program.chdir(cwd)
    _limits(program, sandbox.rlimits)
    _join_cgroups(program, tasks)
    _identity_calls(program, sandbox.capabilities, bounding, *who, sandbox.no_new_privileges)
    program.step = "status"
    # Should our worker be killed before it can tell of the process, this tells: no cgroup of its own does.
    program.write(_STATUS_FD, wire.MARK)


def _session(
    program: Program,
    title: str,
    stdio: tuple[int, int, int],
    kept: tuple[int, ...],
    close_from: int,
    *,
    terminal: bool,
) -> None:
    program.step = "detach"
    for target, source in enumerate(stdio):
        program.dup(source, target)
    for fd in sorted(kept):
        if fd > close_from:
            program.close(close_from, fd - 1)
        close_from = fd + 1
    program.close_from(close_from)
    program.setsid()
    program.join_new_session_keyring()
    program.set_comm(title)
    if terminal:
        program.make_controlling(0)


def _mounts(program: Program, plan: Plan, masked: Masked) -> None:
    deferred_mounts = tuple(mount for mount in plan.mounts if mount.type in DEFERRED)
    read_only = tuple(filter(deferred, plan.readonly_paths))
    key = ("cgroup" in plan.namespaces, deferred_mounts, masked, read_only)
    program.extend(_known("mounts", key, _mount_calls))
    program.step = "cwd"
    program.chdir(plan.cwd)


def _mount_calls(
    program: Program, own_cgroups: bool, mounts: tuple[Mount, ...], masked: Masked, read_only: tuple[str, ...]
) -> None:
    program.step = "mounts"
    if own_cgroups:
        program.unshare(CLONE_NEWCGROUP)
    for mount in mounts:
        flags = sum(_FLAGS[option] for option in mount.options)
        program.mount(mount.source, mount.destination, mount.type, flags)
    for path in masked.files:
        program.mount("/dev/null", path, "", MS_BIND, if_there=True)
    for path in masked.directories:
        if masked.empty is None:
            program.mount("tmpfs", path, "tmpfs", MS_RDONLY | _SAFE, if_there=True)
        else:
            program.mount(masked.empty, path, "", MS_BIND, if_there=True)
    for path in read_only:
        program.mount(path, path, "", MS_BIND | MS_REC, if_there=True)
        program.mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | _SAFE, if_there=True)


def _limits(program: Program, rlimits: tuple[Rlimit, ...]) -> None:
    program.step = "limits"
    for rlimit in rlimits:
        program.set_rlimit(rlimit.name, rlimit.soft, rlimit.hard)


def _join_cgroups(program: Program, tasks: tuple[int, ...]) -> None:
    """Join v1 cgroups, after all that takes memory: a limit may be as small as the command's own needs."""
    program.step = "cgroup"
    for fd in tasks:
        program.write(fd, b"0")


def _identity(program: Program, plan: Plan, who: User, bounding: tuple[int, ...]) -> None:
    key = (plan.capabilities, bounding, who.uid, who.gid, tuple(who.groups), plan.no_new_privileges)
    program.extend(_known("identity", key, _identity_calls))


def _identity_calls(
    program: Program,
    capabilities: tuple[str, ...],
    bounding: tuple[int, ...],
    uid: int,
    gid: int,
    groups: tuple[int, ...],
    no_new_privileges: bool,
) -> None:
    program.step = "user"
    program.limit_bounding(capabilities, bounding)
    program.set_ids(uid, gid, groups)
    program.set_capabilities(() if uid else capabilities)
    if no_new_privileges:
        program.set_no_new_privs()


_last: dict[str, tuple[tuple[Any, ...], Program]] = {}


def _known(part: str, key: tuple[Any, ...], build: Callable[..., None]) -> Program:
    """Return the calls of a part of the program, those of the last time if they are for the same."""
    last = _last.get(part)
    if last is None or last[0] != key:
        program = Program()
        build(program, *key)
        last = _last[part] = (key, program)
    return last[1]


def _execution(
    program: Program, args: tuple[str, ...], env: dict[str, str], home: str | None, seccomp: bytes | None
) -> None:
    program.step = "exec"
    if home is not None:
        env.setdefault("HOME", home)
    if seccomp is not None:
        program.install_seccomp(seccomp)
    program.execve(_candidates(args[0], env), args, env)


def _candidates(command: str, env: dict[str, str]) -> list[str]:
    """Return the paths to try, as a shell searches."""
    if "/" in command:
        return [command]
    return [f"{directory or '.'}/{command}" for directory in env.get("PATH", _DEFAULT_PATH).split(":")]


def explained(failure: KernelError, command: str) -> KernelError:
    """Return the failure of an execve with what a look at the file adds."""
    path, number = failure.path or command, failure.errno or 0
    if number == errno.ENOENT and os.path.exists(path):
        return KernelError("execve", path, number, "it exists, but its interpreter or loader does not")
    if number in (errno.ENOENT, errno.ENOTDIR) and "/" not in command:
        return KernelError("execve", command, errno.ENOENT, "no such command in the container's PATH")
    if number == errno.EACCES and os.path.isdir(path):
        return KernelError("execve", path, number, "it is a directory")
    return failure
