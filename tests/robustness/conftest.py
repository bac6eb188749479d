"""Fixtures of the tests that break things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.disk import daemon_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon


@pytest.fixture
def small_disk() -> Iterator[Daemon]:
    """A supervisor whose state lies on a disk of 16 MiB."""
    with daemon_on_disk("16m") as daemon:
        yield daemon
