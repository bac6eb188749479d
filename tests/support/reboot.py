"""A machine that goes down, as far as a supervisor's successor can see: no process left, another boot id."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from support.forms import within

from wherryd.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

PATIENCE = within(20.0)


def gone(pid: int) -> bool:
    """Say whether a process has ended; nobody may have reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def go_down(daemon: Daemon) -> None:
    """Let the machine go down, as far as the supervisor's next one can see."""
    launcher = daemon.launcher_pid
    with daemon.client() as client:
        pids = [client.inspect(each.id).pid for each in client.list()]
    daemon.kill()
    for pid in (launcher, *pids):
        if pid is not None:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
            assert _wait_gone(pid)
    with database(daemon) as store:
        assert store.meta("boot_id")
        store.set_meta("boot_id", "another boot")


def _wait_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return gone(pid)


@contextmanager
def database(daemon: Daemon) -> Iterator[Store]:
    """The state of a supervisor that does not run."""
    store = Store.open(daemon.state_dir / "state.db")
    try:
        yield store
    finally:
        store.close()
