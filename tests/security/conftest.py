"""Fixtures of the sandbox's tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from inside import Canary

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """A tree that must be byte-equal after the test."""
    made = Canary(tmp_path / "canary")
    yield made
    made.assert_untouched()


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory with a short path on a disk, for what sockets and overlays need."""
    with tempfile.TemporaryDirectory(prefix="ws", dir="/var/tmp") as path:
        yield Path(path)
