"""A second client that asks the supervisor for nothing, again and again, beside a test."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon


@contextmanager
def pinging(daemon: Daemon) -> Iterator[list[float]]:
    """Yield how many seconds each answer took, complete after the block. Fails when one does not come."""
    took: list[float] = []
    failed: list[Exception] = []
    over = threading.Event()

    def ping() -> None:
        try:
            with daemon.client() as client:
                while not over.is_set():
                    began = time.monotonic()
                    client.ping()
                    took.append(time.monotonic() - began)
                    over.wait(0.005)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()
    assert not failed, f"a ping was not answered: {failed[0]!r}"
