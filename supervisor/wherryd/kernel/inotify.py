"""Being told of what is removed from directories: inotify(7), for cgroupfs as for any file system.

Owns how the kernel's records are read. Must never say why something went.
"""

from __future__ import annotations

import os
import struct

from wherryd.kernel.syscalls import IN_DELETE, IN_ONLYDIR, IN_Q_OVERFLOW, inotify_add_watch, inotify_init1

_EVENT = struct.Struct("iIII")
_READ = 65536


class Removals:
    """A descriptor that is readable when something was removed. Owned until `close`. Raises KernelError."""

    def __init__(self) -> None:
        self.fd = inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def watch(self, directory: str) -> None:
        """Have removals from a directory told; again is fine."""
        inotify_add_watch(self.fd, directory, IN_DELETE | IN_ONLYDIR)

    def read(self) -> frozenset[str] | None:
        """Return the names of what was removed; None when there was more than the kernel keeps."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return frozenset()
        names: set[str] = set()
        at = 0
        while at < len(data):
            _watch, mask, _cookie, length = _EVENT.unpack_from(data, at)
            if mask & IN_Q_OVERFLOW:
                return None
            at += _EVENT.size + length
            names.add(os.fsdecode(data[at - length : at].rstrip(b"\0")))
        return frozenset(names)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)
