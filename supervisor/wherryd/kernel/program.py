"""What a container's first process does for itself, as prepared system calls.

Owns the calls that a container's process makes for itself. Must never choose any.
"""

from __future__ import annotations

import errno
import os
import struct

from wherryd.kernel.capabilities import NUMBERS, capability_data
from wherryd.kernel.rlimits import number_of
from wherryd.kernel.sequence import Sequence
from wherryd.kernel.syscalls import KEYCTL_JOIN_SESSION_KEYRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_TIOCSCTTY = 0x540E
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)
_SEARCH_ON = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
_UNLIMITED = (1 << 64) - 1


class Program(Sequence):
    """A sequence whose calls have names."""

    def setsid(self) -> None:
        """Begin a session. setsid(2)."""
        self.add("setsid")

    def join_new_session_keyring(self) -> None:
        """Leave the session keyring we inherited for an empty one. keyctl(2)."""
        self.add("keyctl", KEYCTL_JOIN_SESSION_KEYRING)

    def set_comm(self, name: str) -> None:
        """Set the thread's name (`ps -o comm`); the kernel keeps 15 bytes. prctl(2)."""
        self.add("prctl", _PR_SET_NAME, self.text(name), pointers=(1,))

    def dup(self, old: int, new: int, *, cloexec: bool = False) -> None:
        """Put a descriptor in another place. dup3(2)."""
        self.add("dup3", old, new, os.O_CLOEXEC if cloexec else 0)

    def close(self, first: int, last: int) -> None:
        """Close descriptors. close_range(2)."""
        self.add("close_range", first, last)

    def close_from(self, first: int) -> None:
        """Close every descriptor from `first` on. close_range(2)."""
        self.close(first, (1 << 32) - 1)

    def make_controlling(self, terminal: int) -> None:
        """Make it the controlling terminal. ioctl_tty(2)."""
        self.add("ioctl", terminal, _TIOCSCTTY, op="ioctl TIOCSCTTY")

    def unshare(self, flags: int) -> None:
        """Enter new namespaces. unshare(2)."""
        self.add("unshare", flags)

    def setns(self, pidfd: int, flags: int) -> None:
        """Enter namespaces of a process. setns(2)."""
        self.add("setns", pidfd, flags)

    def mount(self, source: str, target: str, fstype: str, flags: int, *, if_there: bool = False) -> None:
        """Mount by path, once the root is the container's. `if_there`: a missing target is fine. mount(2)."""
        args = self.text(source), self.text(target), self.text(fstype), flags
        tolerated = _NOT_HERE if if_there else ()
        self.add("mount", *args, pointers=(0, 1, 2), path=target, tolerated=tolerated)

    def chdir(self, path: str) -> None:
        """Change the working directory. chdir(2)."""
        self.add("chdir", self.text(path), pointers=(0,), path=path)

    def set_rlimit(self, name: str, soft: int, hard: int) -> None:
        """Set a resource limit; -1 is unlimited. prlimit(2)."""
        limits = self.bytes(struct.pack("=QQ", soft & _UNLIMITED, hard & _UNLIMITED))
        self.add("prlimit64", 0, number_of(name), limits, pointers=(2,), op="setrlimit", path=name)

    def limit_bounding(self, keep: tuple[str, ...], present: Iterable[int]) -> None:
        """Drop those of the `present` capabilities that `keep` lacks from the bounding set. prctl(2)."""
        kept = {NUMBERS[name] for name in keep}
        for number in present:
            if number not in kept:
                self.add("prctl", _PR_CAPBSET_DROP, number, op="prctl PR_CAPBSET_DROP")

    def set_ids(self, uid: int, gid: int, groups: tuple[int, ...]) -> None:
        """Become the user; leaving 0 clears permitted and effective capabilities. credentials(7)."""
        array = self.bytes(struct.pack(f"={len(groups)}I", *groups))
        self.add("setgroups", len(groups), array, pointers=(1,))
        self.add("setresgid", gid, gid, gid, path=str(gid))
        self.add("setresuid", uid, uid, uid, path=str(uid))
        # The change of user made our memory what fs.suid_dumpable says; it may be our parent's too.
        self.add("prctl", _PR_SET_DUMPABLE, 0, op="prctl PR_SET_DUMPABLE")

    def set_capabilities(self, names: tuple[str, ...]) -> None:
        """Set permitted and effective to `names`, inheritable (so ambient too) to nothing. capset(2)."""
        header, data = map(self.bytes, map(bytes, capability_data(names)))
        self.add("capset", header, data, pointers=(0, 1))

    def set_no_new_privs(self) -> None:
        """Make setuid bits and file capabilities inert, for ever. prctl(2)."""
        self.add("prctl", _PR_SET_NO_NEW_PRIVS, 1, op="prctl PR_SET_NO_NEW_PRIVS")

    def install_seccomp(self, program: bytes) -> None:
        """Install a filter: an array of struct sock_filter. Every call after it must pass it. seccomp(2)."""
        code = self.bytes(program)
        fprog = self.bytes(struct.pack("=Hxxxxxxq", len(program) // 8, code))
        self.link(fprog + 8)
        args = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog)
        self.add("prctl", *args, pointers=(2,), op="prctl PR_SET_SECCOMP")

    def write(self, fd: int, data: bytes) -> None:
        """Write a few bytes. write(2)."""
        self.add("write", fd, self.bytes(data), len(data), pointers=(1,))

    def execve(self, paths: list[str], args: tuple[str, ...], env: dict[str, str]) -> None:
        """Execute the first of `paths` that can be, going on after "not found" and "denied". execve(2)."""
        argv = self.strings(args)
        envp = self.strings([f"{key}={value}" for key, value in env.items()])
        tolerated = _SEARCH_ON if len(paths) > 1 else ()
        self.begin_execution()
        for path in paths:
            vectors = (self.text(path), argv, envp)
            self.add("execve", *vectors, pointers=(0, 1, 2), path=path, tolerated=tolerated)
