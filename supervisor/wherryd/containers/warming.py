"""A program in memory before a container with little memory executes it.

What a container is the first to read is charged to it (admin-guide/cgroup-v2.rst, "Memory Ownership"). With
less memory than its program is large it would read the same pages from the disk again and again, and never
get on: on a machine that has just booted, where it runs at once an hour later. What is read here is ours.
Must never fail a start, nor choose what is executed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import trio

from wherryd import journal
from wherryd.containers.config import DEFAULT_PATH
from wherryd.kernel.paths import open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.containers.config import Config

LITTLE = 16 << 20
"""Bytes; who has more has room for the programs that people run in so little."""

PIECE = 128 << 10
"""Bytes; of a longer range the kernel reads as much as it reads ahead of anybody, 128 KiB on most disks."""

PATIENCE = 5.0
"""Seconds; a file system that does not answer is the container's to wait for."""


def is_due(config: Config) -> bool:
    """Say whether a container has so little memory that it matters."""
    memory = config.spec.limits.memory
    return memory is not None and memory < LITTLE


async def warm(config: Config) -> None:
    """Have the kernel read the program."""
    with trio.move_on_after(PATIENCE):
        await trio.to_thread.run_sync(_warm, config, abandon_on_cancel=True)


def _warm(config: Config) -> None:
    for root in (*config.image.layers, *(["/"] if config.image.binds else [])):
        for path in _candidates(config):
            if _read_ahead(root, path):
                return


def _candidates(config: Config) -> Iterator[str]:
    """Return where the program may be. execvp(3)."""
    name = config.args[0]
    if "/" in name:
        yield os.path.join(config.workdir or "/", name)
        return
    for folder in config.env.get("PATH", DEFAULT_PATH).split(":"):
        yield os.path.join(folder or config.workdir or "/", name)


def _read_ahead(root: str, path: str) -> bool:
    """Have a file read, at most LITTLE of it; say whether there is one."""
    try:
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = open_in_root(folder, path)
        finally:
            os.close(folder)
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return False
            file = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)
        try:
            for start in range(0, min(os.fstat(file).st_size, LITTLE), PIECE):
                os.posix_fadvise(file, start, PIECE, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)
    except OSError as error:
        journal.debug("program not read ahead", path=path, root=root, error=error)
        return False
    return True
