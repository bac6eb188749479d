"""A supervisor that is too busy to accept: a client waits as long as it was told to, and then says so."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from wherry import ConnectionFailed
from wherry.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A listening socket whose queue has no room."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        yield path, listening


def test_client_with_a_timeout_waits_for_room_in_the_queue(full: tuple[str, socket.socket]) -> None:
    """The connection that comes late is used: a full queue is no failure yet."""
    path, listening = full
    accepted: list[socket.socket] = []
    waiter = threading.Timer(0.3, lambda: accepted.append(listening.accept()[0]))
    waiter.start()
    Wire(path, 20).close()
    waiter.join()
    accepted[0].close()


@pytest.mark.parametrize("timeout", [0.2, 0.0])
def test_queue_that_stays_full_is_told_after_the_timeout(
    full: tuple[str, socket.socket], timeout: float
) -> None:
    """One line that says what is wrong, at the time that was asked for."""
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match="stayed full"):
        Wire(full[0], timeout)
    assert timeout <= time.monotonic() - started < timeout + 2
