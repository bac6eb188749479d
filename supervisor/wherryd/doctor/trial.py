"""Tries something real in a process of its own: what it does to its namespaces ends with it."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from wherryd.kernel.syscalls import unshare

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 10.0
"""Seconds: a disk that does not answer is a finding, too."""

MAX_SAID = 4096


def trial(namespaces: int, work: Callable[[], None]) -> str | None:
    """Do some work in new `namespaces` (CLONE_NEW…); return why it failed, None when it did not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _child(namespaces, work, writing)
    os.close(writing)
    try:
        return _outcome(pid, reading)
    finally:
        os.close(reading)


def _outcome(pid: int, reading: int) -> str | None:
    if not select.select([reading], [], [], TIMEOUT)[0]:
        os.kill(pid, signal.SIGKILL)
        # Not waited for: in the kernel's hands it may stay for long, and we end soon.
        return f"no answer within {TIMEOUT:.0f} s"
    said = os.read(reading, MAX_SAID).decode(errors="replace")
    os.waitpid(pid, 0)
    if not said:
        return "the process that tried it was killed"
    return None if said == "done" else said


def _child(namespaces: int, work: Callable[[], None], writing: int) -> None:
    code = 1
    try:
        unshare(namespaces)
        work()
        os.write(writing, b"done")
        code = 0
    except OSError as error:
        os.write(writing, _told(error).encode()[:MAX_SAID])
    except BaseException:  # noqa: BLE001 - told, and the process ends
        os.write(writing, traceback.format_exc().strip().rpartition("\n")[2].encode()[:MAX_SAID])
    finally:
        sys.stderr.flush()
        os._exit(code)


def _told(error: OSError) -> str:
    return str(error) or type(error).__name__
