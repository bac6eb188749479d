"""What every test can use: see support/."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on trio."""
    return "trio"
