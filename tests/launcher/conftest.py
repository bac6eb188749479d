"""A launcher of the test's own, without a supervisor around it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from launching import Ground

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ground(busybox: Path) -> Iterator[Ground]:
    # Not pytest's long paths: a socket's has 108 bytes at most.
    base = Path(tempfile.mkdtemp(prefix="wl"))
    made = Ground(base, busybox)
    try:
        yield made
        made.close()
    finally:
        while base.exists():
            # The launcher may be at removing its socket.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(base)
