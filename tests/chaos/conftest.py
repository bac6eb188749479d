"""What chaos needs: an image with the writer, and a supervisor whose state lies on a small disk."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.disk import daemon_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

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
    with daemon_on_disk(DISK, default_network="bridge") as daemon:
        yield daemon
