"""A job's status socket: what a worker tells the launcher of one process. Must never wait."""

from __future__ import annotations

import os

from wherryd.launcher import child, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.kernel.errors import KernelError
    from wherryd.kernel.program import Program


class Status:
    """The socket; the launcher waits for its hang-up."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def started(self, process: tuple[int, int], terminal: int | None, program: Program, command: str) -> None:
        """Tell of a process (pid, pidfd), and why its command does not execute, if so; then hang up."""
        pid, pidfd = process
        failed = program.failure()
        held = (pidfd,) if terminal is None else (pidfd, terminal)
        wire.send_on(self.fd, wire.pack("forked" if failed else "executing", pid), held)
        if failed is not None:
            step, failure = failed
            self.failed(step, child.explained(failure, command) if step == "exec" else failure)
        os.close(self.fd)

    def failed(self, step: str, failure: KernelError) -> None:
        """Tell why there is no process, or no command."""
        reason = (failure.op, failure.path, failure.errno, failure.hint)
        wire.send_on(self.fd, wire.pack(step, *reason))
