"""Fixtures of the tests with real packets: a machine with a supervisor, and another one on its wire.

Both are network namespaces: nothing here touches this machine's own links, rules or settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from networkkit import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def machine(busybox: Path) -> Iterator[Machine]:
    """A machine that the tests of a module share; what a test leaves running there is removed."""
    made = Machine(busybox)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def no_containers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove the containers that a test made."""
    yield
    if "machine" in request.fixturenames:
        request.getfixturevalue("machine").daemon.remove_containers()
