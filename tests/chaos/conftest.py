"""What chaos needs: an image with the writer, and a supervisor whose state lies on a small disk."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DISK = "256m"


@pytest.fixture(scope="session")
def writer_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory image of one static program."""
    image = tmp_path_factory.mktemp("writer")
    command = ["gcc", "-O2", "-Wall", "-static", "-o", image / "writer", HERE / "writer.c"]
    subprocess.run(command, check=True)
    return image


@pytest.fixture
def chaos_wherryd() -> Iterator[Daemon]:
    """A supervisor to be killed and stopped, on a disk that can be filled."""
    daemon = Daemon()
    daemon.default_network = "bridge"
    with tempfile.TemporaryDirectory(prefix="wd", dir="/var/tmp") as disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk], check=True)
        daemon.state_dir = Path(disk, "state")
        try:
            daemon.start()
            yield daemon
        finally:
            try:
                daemon.close()
            finally:
                subprocess.run(["umount", disk], check=True)
