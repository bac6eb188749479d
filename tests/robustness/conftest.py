"""Fixtures of the tests that break things."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def small_disk() -> Iterator[Daemon]:
    """A supervisor whose state lies on a disk of 16 MiB."""
    daemon = Daemon()
    with tempfile.TemporaryDirectory(prefix="wd", dir="/var/tmp") as disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", disk], check=True)
        daemon.state_dir = Path(disk, "state")
        try:
            daemon.start()
            yield daemon
        finally:
            try:
                daemon.close()
            finally:
                subprocess.run(["umount", disk], check=True)
