"""One container as the launcher holds it: process, descriptors, exit. Must never wait for the process.

exec_entry.py has the other kind of process.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import struct
import time

from wherryd.kernel.cgroups import cgroup_kill, populated
from wherryd.kernel.hints import hint
from wherryd.kernel.shortage import shortage
from wherryd.launcher import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_F_SETPIPE_SZ = 1031
_PIPE_SIZE = 1 << 20  # what a burst may write before it waits for the log; the system's own limit
_STATUS_SIZE = 16384
_UCRED = struct.Struct("3i")
_SCM_CREDENTIALS = 2
_ANCILLARY = _socket.CMSG_SPACE(2 * 4) + _socket.CMSG_SPACE(_UCRED.size)


class Entry:
    """A container from the request until its release. `failure` is why its command never executed.

    `sender` is who told last, of what carries credentials; a `doomed` process is killed once it is known.
    Of a `brief` one the supervisor wants to hear of start and end at once, if the end comes in a moment.
    One that is `kept` is another launcher's child, and that launcher is dead.
    `told`: the client that waits for its end knows it from us. `ended_at`: when we saw that, Unix time.
    """

    note: bytes | None = None
    brief = False
    kept = False
    told = False

    def __init__(self, name: str, cgroup: str) -> None:
        self.id = name
        self.cgroup = cgroup
        self.pid = 0
        self.fds: dict[str, int] = {}
        self.status: _socket.socket | None = None
        self.pending = True
        self.executing = False
        self.failure: tuple[Any, ...] | None = None
        self.exit: tuple[int | None, int | None] | None = None
        self.ended_at: float | None = None
        self.sender = 0
        self.doomed = False

    @classmethod
    def kept_for(cls, name: str, pid: int, fds: dict[str, int], *state: Any) -> Entry:
        """Return one whose process is not our child: another launcher's, which died."""
        code, signal, note = state
        entry = cls(name, "")
        entry.pid, entry.fds, entry.note = pid, fds, note
        entry.pending, entry.executing, entry.kept = False, True, True
        entry.exit = None if code is None and signal is None else (code, signal)
        return entry

    def watch(self, status: _socket.socket) -> None:
        """Take the status socket, on which worker and child tell."""
        self.status = status

    @property
    def over(self) -> bool:
        """Whether a start that came to nothing has left nothing."""
        if not self.pending or self.status is not None:
            return False
        # No pid: its worker was killed before it could tell, or there never was a process.
        return self.exit is not None if self.pid else self._empty()

    def _empty(self) -> bool:
        try:
            return not populated(self.cgroup)
        except OSError as error:
            if shortage(error) is None:
                raise
            return False  # there is nothing left to look with: it is asked again at the next end

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return what each of the descriptors is, in the order they travel in."""
        return tuple(self.fds)

    def read_status(self) -> None:
        """Take in what worker and child have told so far: forked, executing, failed."""
        while self.status is not None:
            try:
                data, ancillary, _, _ = self.status.recvmsg(
                    _STATUS_SIZE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return
            self._told(data, self._descriptors(ancillary))

    def _descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> list[int]:
        fds: list[int] = []
        for _, kind, payload in ancillary:
            if kind == _SCM_CREDENTIALS:
                self.sender = _UCRED.unpack(payload)[0]
            else:
                fds += struct.unpack(f"{len(payload) // 4}i", payload)
        return fds

    def _told(self, data: bytes, fds: list[int]) -> None:
        if data == wire.MARK:
            self.executing = True
            return
        record = wire.unpack(data)
        if record[0] in {"forked", "executing"}:
            self.pid, self.executing = record[1], record[0] == "executing"
            self.fds.update(zip(("pidfd", "tty"), fds, strict=False))
            if not fds:
                # There was no descriptor left for its pidfd: nobody could hold it.
                self.failure = ("clone", "recvmsg", None, errno.EMFILE, hint("recvmsg", errno.EMFILE))
                self.doomed = True
        else:
            self.failure = record

    def end(self, ended: tuple[int | None, int | None]) -> None:
        """Take note of its exit."""
        self.exit = ended
        self.ended_at = time.time()

    def close_status(self) -> None:
        """Close the status socket, once everything was told."""
        if self.status is not None:
            self.status.close()
            self.status = None

    def call_off(self) -> None:
        """Kill what its worker may have forked: whatever it is, it is in the cgroup.

        The kernel kills what is cloned into a cgroup that was killed before: the next start gets a new one.
        """
        cgroup_kill(self.cgroup)

    def drop(self, kind: str) -> None:
        """Close our duplicate of a descriptor, if there is one still."""
        fd = self.fds.pop(kind, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close every descriptor held for the container."""
        self.close_status()
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def make_stdio(entry: Entry, *, stdin: bool, terminal: bool) -> list[int]:
    """Give the entry our ends of the pipes and return the container's: stdout, stderr and maybe stdin.

    None with a terminal: that is made in the container's own devpts, and the entry gets both ends of the pipe
    ("stdout" to read, "staging" to write) through which its bytes move to the log. Raises OSError.
    """
    if terminal:
        entry.fds["stdout"], entry.fds["staging"] = _pipe()
        return []
    theirs: list[int] = []
    try:
        for kind in ("stdout", "stderr"):
            entry.fds[kind], write = _pipe()
            theirs.append(write)
        if stdin:
            read, entry.fds["stdin"] = os.pipe2(os.O_CLOEXEC)
            theirs.append(read)
    except OSError:
        for fd in theirs:
            os.close(fd)
        raise
    return theirs


def _pipe() -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY, errno.ENOMEM):
            raise
        # a smaller pipe holds less of a burst, and loses nothing
    return read, write


def interrupted(entry: Entry) -> tuple[Any, ...]:
    """Return why a start came to nothing of which nobody has told why."""
    what = f"signal {entry.exit[1]} ended its process" if entry.exit else "it was called off"
    return ("set-up", "spawn", None, errno.EINTR, f"{what} while it was being set up")
