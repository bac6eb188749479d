"""Who has a port of this host: found in /proc when somebody is refused it. Looks, and changes nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTEN = "0A"
_PREFIX = "socket:["


def holder(protocol: str, port: int) -> str | None:
    """Return "nginx (pid 123)" for whoever listens at a port; None when that cannot be known."""
    inodes = {
        inode for name in (protocol, f"{protocol}6") for inode in _inodes(f"/proc/net/{name}", protocol, port)
    }
    if not inodes:
        return None
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile
            if inodes & set(_sockets(pid)):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (pid {pid})"
    return None


def _inodes(path: str, protocol: str, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets at a port: of TCP those that listen (proc(5), /proc/net/tcp)."""
    try:
        with open(path, encoding="ascii") as file:
            lines = file.readlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and (protocol == "udp" or fields[3] == _LISTEN):
            yield fields[9]


def _sockets(pid: str) -> Iterator[str]:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith(_PREFIX):
                    yield target[len(_PREFIX) : -1]
