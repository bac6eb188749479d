"""File systems of a size that a test chooses, and supervisors whose state lies on one."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tmpfs(path: Path, options: str, *, lazy: bool = False) -> Iterator[Path]:
    """Have a tmpfs at a new directory, with options as of mount(8), while the block runs.

    Nobody may hold anything on it then, unless it is `lazy`.
    """
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", *(["-l"] if lazy else []), path], check=True)


@contextmanager
def daemon_on_disk(
    size: str, *, inodes: int | None = None, default_network: str = "none"
) -> Iterator[Daemon]:
    """Have a supervisor whose state lies on a disk of that size (as "16m") while the block runs."""
    options = f"size={size}" if inodes is None else f"size={size},nr_inodes={inodes}"
    daemon = Daemon()
    daemon.default_network = default_network
    with (
        tempfile.TemporaryDirectory(prefix="wd", dir="/var/tmp") as place,
        tmpfs(Path(place, "disk"), options) as disk,
    ):
        daemon.state_dir = disk / "state"
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.close()
