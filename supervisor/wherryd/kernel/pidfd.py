"""Process descriptors: signal one, and read how one ended that is somebody else's to reap."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import pidfd_open, pidfd_send_signal

__all__ = ["exit_status", "pidfd_open", "pidfd_send_signal"]

# struct pidfd_info: mask, cgroupid; eleven ids, from pid to fsgid; exit_code
_INFO = struct.Struct("QQ11Ii")
_PIDFD_INFO_EXIT = 1 << 3
_STAT_EXIT_CODE = 52 - 3  # proc(5) counts from 1, and the first two fields are cut off
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11


def exit_status(pidfd: int) -> int | None:
    """Return the wait status (as waitpid(2) gives it) of an ended process; None if it cannot be known.

    That is: before Linux 6.15, or where we may not look into a process that nobody has reaped yet.
    Needs no kinship.
    """
    request = bytearray(_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            return None
        if error.errno != errno.ESRCH:
            raise
    fields = _INFO.unpack(request)
    return fields[13] if fields[0] & _PIDFD_INFO_EXIT else _zombie_status(pidfd)


def _zombie_status(pidfd: int) -> int | None:
    # An init that reaps only now and then would have us wait for seconds.
    try:
        pid = _pid(pidfd)
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        if fields[0] != b"Z" or not _may_look_into(pid):
            return None
        pidfd_send_signal(pidfd, 0)  # fails if it was reaped meanwhile, and its id is another's
    except (FileNotFoundError, ProcessLookupError, KernelError):
        return None
    return int(fields[_STAT_EXIT_CODE])


def _pid(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _may_look_into(pid: int) -> bool:
    """Say whether the kernel shows us a zombie's exit code; to others it shows 0, as if that were it."""
    try:
        os.readlink(f"/proc/{pid}/cwd")
    except PermissionError:
        return False
    except FileNotFoundError:
        return True  # we may look, and it has none any more
    return True
