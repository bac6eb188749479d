"""Process descriptors: signal one, and read how one ended after somebody else has reaped it."""

from __future__ import annotations

import errno
import fcntl
import struct

from wherryd.kernel.syscalls import pidfd_open, pidfd_send_signal

__all__ = ["exit_status", "pidfd_open", "pidfd_send_signal"]

# struct pidfd_info: mask, cgroupid; eleven ids, from pid to fsgid; exit_code
_INFO = struct.Struct("QQ11Ii")
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11


def exit_status(pidfd: int) -> int | None:
    """Return the wait status (as waitpid(2) gives it) of a reaped process; None if it cannot be known.

    That is: before Linux 6.15, or while nobody has reaped it. Needs no kinship.
    """
    request = bytearray(_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ESRCH):
            return None
        raise
    fields = _INFO.unpack(request)
    return fields[13] if fields[0] & _PIDFD_INFO_EXIT else None
