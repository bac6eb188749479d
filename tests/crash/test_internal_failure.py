"""A supervisor in which something of its own has failed, and that cannot come to its end by itself."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

FAILS = """
import signal, sys, time
import trio
from wherryd import front
from wherryd.main import main

front.FALL_TIMEOUT = 1
serve = front.listener.serve

async def serve_and_fail(listening, verbs, nursery):
    nursery.start_soon(trio.to_thread.run_sync, time.sleep, 1000)  # which nothing cancels
    nursery.start_soon(serve, listening, verbs, nursery)
    with trio.open_signal_receiver(signal.SIGUSR1) as told:
        await anext(aiter(told))
    raise RuntimeError("a defect of ours")

def fail(_front):
    raise RuntimeError("a defect of ours")

front.listener.serve = serve_and_fail
front.Front._reload = fail
main(sys.argv[4:])
"""
"""For `python -m wherryd.main`: fails in a task at SIGUSR1, and where it waits for signals at SIGHUP."""


@pytest.mark.parametrize("where", [signal.SIGUSR1, signal.SIGHUP])
def test_one_that_waits_for_a_thread_for_ever_is_ended_and_its_successor_finds_all(
    fresh_wherryd: Daemon, busybox: Path, where: signal.Signals
) -> None:
    daemon = fresh_wherryd
    daemon.terminate()
    daemon.prefix = (sys.executable, "-c", FAILS)
    daemon.start()
    with daemon.client() as client:
        made = client.run_detached(RunSpec(image=os.fspath(busybox), command=("sleep", "1000")))
        pid = client.inspect(made.id).pid
        os.kill(daemon.pid, where)
        assert daemon.wait_died() == -signal.SIGALRM, "it ended by itself: this shows nothing"
        daemon.prefix = ()
        daemon.start()
        details = client.inspect(made.id)
    assert (details.summary.state, details.pid) == ("running", pid)
