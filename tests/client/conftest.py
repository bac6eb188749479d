"""A scripted supervisor, and a plain client that speaks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherry import Client
from wherry.testing import FakeSupervisor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fake() -> Iterator[FakeSupervisor]:
    with FakeSupervisor() as supervisor:
        yield supervisor


@pytest.fixture
def client(fake: FakeSupervisor) -> Iterator[Client]:
    with Client(fake.run_dir, autostart=False, timeout=20) as made:
        yield made
