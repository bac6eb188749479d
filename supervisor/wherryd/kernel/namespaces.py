"""Namespaces: their flags by OCI name, loopback, and ready network namespaces. No policy."""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from wherryd.kernel.errors import from_oserror
from wherryd.kernel.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    setns,
    unshare,
)

FLAGS = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "cgroup": CLONE_NEWCGROUP,
}

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_IFREQ = struct.Struct("16sh22x")


def loopback_up() -> None:
    """Bring `lo` of the current network namespace up. netdevice(7)."""
    try:
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP_RUNNING))
        finally:
            sock.close()
    except OSError as error:
        raise from_oserror(error, "ioctl SIOCSIFFLAGS", "lo") from error


def new_network_namespace() -> int:
    """Return a descriptor of a fresh network namespace with loopback up.

    The calling thread is back in its own namespace afterwards. Meant for a worker thread: the kernel
    may take its time. Raises KernelError.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        try:
            loopback_up()
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(own, CLONE_NEWNET)
    finally:
        os.close(own)
