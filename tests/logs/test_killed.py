"""The core promise: kill -9 of the supervisor at any moment loses no byte and doubles none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
import trio
from killed_pump import line
from support.forms import within

from wherryd.logs.log import Log
from wherryd.logs.reader import read

PROGRAM = Path(__file__).with_name("killed_pump.py")


@pytest.mark.parametrize(("kind", "kills"), [("pipes", 250), ("terminal", 100)])
async def test_every_byte_is_logged_once_though_the_pump_is_killed(
    tmp_path: Path, kind: str, kills: int
) -> None:
    """Killed at random moments while another process holds duplicates; each stream comes back exactly."""
    seed = 20
    command = [sys.executable, PROGRAM, tmp_path, str(kills), str(seed), kind]
    counts = [int(count) for count in await trio.to_thread.run_sync(_output, command)]
    assert min(counts) > kills, f"the container hardly ran: {counts}"
    log = Log.open(tmp_path)
    for stream, count in enumerate(counts, 1):
        expected = b"".join(line(stream, number) for number in range(count))
        async with aclosing(read(log, streams=(stream,))) as chunks:
            got = b"".join([chunk.data async for chunk in chunks])
        assert len(got) == len(expected), f"stream {stream}: bytes lost or doubled (seed {seed})"
        assert got == expected, f"stream {stream}: bytes changed or out of order (seed {seed})"


def _output(command: list[str | Path]) -> list[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=within(60))
        assert process.returncode == 0
        return output.split()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
