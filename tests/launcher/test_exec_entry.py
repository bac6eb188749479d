"""An exec whose worker dies at the worst moment: the process that nobody told of is known, and dies."""

from __future__ import annotations

import _socket
import os

from wherryd.launcher import wire
from wherryd.launcher.exec_entry import ExecEntry


def told_by_a_child(*messages: bytes) -> tuple[ExecEntry, int]:
    """Return an entry to which a process has told this and no worker anything, and that process."""
    entry = ExecEntry("e" * 64, b"")
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    entry.watch(ours)
    pid = os.fork()
    if pid == 0:
        for message in messages:
            os.write(theirs.fileno(), message)
        os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    entry.read_status()
    entry.close_status()
    return entry, pid


def test_a_process_that_executes_unknown_to_its_worker_is_found_and_doomed() -> None:
    entry, pid = told_by_a_child(wire.MARK)
    assert (entry.pid, entry.doomed, entry.pending) == (pid, True, True)
    assert entry.failure is not None
    assert not entry.over, "a process that may still live was forgotten"
    entry.exit = (None, 9)
    assert entry.over


def test_a_process_that_failed_before_it_executed_is_over() -> None:
    entry, _ = told_by_a_child(wire.pack("cwd", "chdir", "/missing", 2, None))
    assert (entry.pid, entry.failure, entry.over) == (0, ("cwd", "chdir", "/missing", 2, None), True)
