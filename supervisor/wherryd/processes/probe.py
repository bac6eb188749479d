"""Probes of health: short execs whose exit and first words are wanted, and which must come to their end.

Owns the pipe that a probe writes to, and its lifeline: when that is closed, also because this supervisor was
killed, the probe is killed with all that it started. What it prints beyond the first words is thrown away.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, WherryError
from wherry_protocol.processes import ExecSpec
from wherryd.processes.descriptors import copies
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Generator

    from wherry_protocol.container_state import ExitStatus
    from wherryd.containers.container import Container
    from wherryd.processes.execs import Execs

OUTPUT_MAX = 4096
"""Bytes of a probe's output that are kept, as docker."""

PACE = 0.02
"""Seconds between two reads of a probe that prints without end: it must not keep us busy."""

NOT_DONE = -1
"""Docker's exit code of a probe that could not begin, or was not done in time."""

OUT_OF_MEMORY = "(the kernel killed it: out of memory)"
"""What stands after the output of a probe that was."""

_CHUNK = 1 << 16


class Prober:
    """Executes probes; containers/health.py says what is expected of it."""

    def __init__(self, execs: Execs) -> None:
        self._execs = execs

    async def __call__(self, container: Container, args: tuple[str, ...], seconds: float) -> tuple[int, str]:
        """Execute a probe for at most so many seconds; return its code and the beginning of its output."""
        with _pipe() as (reading, writing), _pipe() as (lifeline, _):
            output = _Output(reading)
            try:
                with trio.fail_after(seconds):
                    status = await self._run(container, args, output, (lifeline, writing, writing))
            except trio.TooSlowError:
                return NOT_DONE, f"Health check exceeded timeout ({seconds:g}s): {output.text()}"
            except Conflict:
                raise
            except WherryError as error:
                return NOT_DONE, str(error)
            code = NOT_DONE if status.exit_code is None else status.exit_code
            return code, output.text() + (OUT_OF_MEMORY if status.oom_killed else "")

    async def _run(
        self, container: Container, args: tuple[str, ...], output: _Output, ends: tuple[int, int, int]
    ) -> ExitStatus:
        lifeline, *streams = copies(ends)
        spec = ExecSpec(args=args, streams=(1, 2))
        session = await self._execs.start(container.id, spec, lifeline, streams, probe=True)
        async with open_nursery() as nursery:
            start_soon(nursery, output.read)
            status = await self._execs.wait(session.id)
            nursery.cancel_scope.cancel()
        output.take()
        return status


class _Output:
    """The reading end of a probe's output: the first bytes are kept, the others thrown away."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = bytearray()
        os.set_blocking(fd, False)

    async def read(self) -> None:
        """Take what comes, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            self.take()
            await trio.sleep(PACE)

    def take(self) -> None:
        """Take what is there."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        self._kept += data[: OUTPUT_MAX - len(self._kept)]

    def text(self) -> str:
        """Return what was kept."""
        return self._kept.decode("utf-8", "replace")


@contextmanager
def _pipe() -> Generator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        yield ends
    finally:
        for fd in ends:
            os.close(fd)
