"""Names of users, out of a running container's /etc/passwd. Must not trust that file, nor leave its root."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from wherryd.kernel.paths import open_in_root
from wherryd.kernel.procfs import read_stat

if TYPE_CHECKING:
    from wherryd.kernel.procfs import Stat

MAX_SIZE = 1 << 20
"""Bytes: some 15,000 users. What is bigger is an attack on our memory."""


def user_names(first: Stat) -> dict[int, str]:
    """Return names by uid; none when there is no such file, or one that is no file.

    `first` is the container's first process. Blocks as long as the container's file system does not answer:
    call it in a thread. Raises OSError.
    """
    root = os.open(f"/proc/{first.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        now = read_stat(first.pid)
        if now is None or now.starttime != first.starttime:
            return {}  # the id is somebody else's by now, and so is that root
        # O_NONBLOCK: a fifo must not hold us up before we see that it is one.
        fd = open_in_root(root, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(root)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
            return {}
        return _parse(os.fsdecode(os.read(fd, MAX_SIZE)))
    finally:
        os.close(fd)


def _parse(text: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for line in text.split("\n"):
        name, _, rest = line.partition(":")
        uid = rest.partition(":")[2].partition(":")[0]
        if name and uid.isascii() and uid.isdigit():
            names.setdefault(int(uid), name)
    return names
