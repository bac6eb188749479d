"""The front of the supervisor: clients and signals, from the word that it is ready to the one that it stops.

Owns the listening socket, be it bound here or inherited, and what the service manager hears. Must never know
what a request means.
"""

from __future__ import annotations

import gc
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import WherryError
from wherryd import journal
from wherryd.control import listener
from wherryd.notify import (
    inherited_socket,
    pet_watchdog,
    sd_notify,
    tell_reloading,
    watchdog_interval,
)
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wherryd.control.verbs import Verbs
    from wherryd.reloading import Reloader


FALL_TIMEOUT = 5
"""Seconds for all tasks to end when one has failed, or the event loop itself, as without memory: it may wait
for a thread for ever then. After that the kernel ends us (SIGALRM), and a successor finds all exact."""


class Front:
    """The front at the control socket's `path`; `ready` is called once requests are answered."""

    def __init__(self, path: Path, reloader: Reloader, ready: Callable[[], None]) -> None:
        self.reloader = reloader
        self._path = path
        self._ready = ready
        self._told = False

    async def serve(self, verbs: Verbs, *, containers: int) -> None:
        """Serve clients until SIGTERM or SIGINT; SIGHUP has the settings read again. Raises Conflict."""
        inherited = inherited_socket(self._path)
        # What comes once more while we end must not end us in the middle: systemd says it twice to a group.
        signal.signal(signal.SIGTERM, self._take_note)
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals,
            inherited or listener.bind(self._path) as listening,
        ):
            async with open_nursery() as nursery:
                start_soon(nursery, partial(listener.serve, listening, verbs, nursery))
                interval = watchdog_interval()
                if interval is not None:
                    start_soon(nursery, pet_watchdog, interval)
                _settle_memory()
                journal.info("supervisor ready", pid=os.getpid(), socket=self._path, containers=containers)
                sd_notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS={self._status}")
                self._ready()
                await self._until_told(signals)
                if inherited is None:
                    self._path.unlink(missing_ok=True)
                nursery.cancel_scope.cancel()

    def _take_note(self, *_: object) -> None:
        self._told = True

    async def _until_told(self, signals: AsyncIterator[int]) -> None:
        """Wait for the signal that ends us; a failure here, or one that cancels this, must end, too."""
        if self._told:
            return
        try:
            async for number in signals:
                if number != signal.SIGHUP:
                    journal.info("supervisor stopping", signal=signal.Signals(number).name)
                    return
                self._reload()
        except BaseException:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(FALL_TIMEOUT)
            raise

    @property
    def _status(self) -> str:
        return f"answers at {self._path}"

    def _reload(self) -> None:
        tell_reloading()
        status = self._status
        try:
            self.reloader.reload()
        except WherryError as error:
            journal.error("settings not read again: nothing has changed", error=error)
            status += f"; settings not read again: {error.message}"
        sd_notify("READY=1", f"STATUS={status}")


def _settle_memory() -> None:
    """What was made until now stays for ever: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    # Most of what requests make is freed by its reference count; fewer collections, same memory.
    gc.set_threshold(20_000, 20, 50)
