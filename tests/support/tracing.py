"""strace on processes of ours that run: who is traced, and for how long."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from support import proc
from support.forms import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

PATIENCE = within(10.0)
DETACHED = 1.0
"""Seconds for strace to let go of what it traces."""


def threads_of(daemon: Daemon, role: str) -> list[proc.Process]:
    """Return the threads of a process of ours, or the workers."""
    launcher = daemon.launcher_pid
    if role == "worker":
        return [each for each in proc.everyone() if each.parent == launcher]
    pid = daemon.pid if role == "supervisor" else launcher
    found = (proc.process(int(thread)) for thread in os.listdir(f"/proc/{pid}/task"))
    return [each for each in found if each is not None]


@contextmanager
def tracing(threads: list[proc.Process], *options: str) -> Iterator[None]:
    """Run strace on threads that are there."""
    command = ["strace", *options, *(f"--attach={each.pid}" for each in threads)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        try:
            deadline = time.monotonic() + PATIENCE
            while not all(map(_traced, threads)):
                assert time.monotonic() < deadline, "strace does not attach"
                time.sleep(0.005)
            yield
        finally:
            strace.terminate()
            with suppress(subprocess.TimeoutExpired):
                strace.wait(DETACHED)
            strace.kill()  # it may wait for a thread of the killed for ever


def _traced(thread: proc.Process) -> bool:
    try:
        with open(f"/proc/{thread.pid}/status", encoding="utf-8") as status:
            return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in status)
    except (FileNotFoundError, ProcessLookupError):
        return True
