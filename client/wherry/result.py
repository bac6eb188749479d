"""What a finished run leaves in the caller's hands.

Owns Result and how it is gathered from a stream's events; must never do IO.
"""

from __future__ import annotations

from wherry.errors import ContainerFailed
from wherry_protocol.container_state import ExitStatus  # noqa: TC001 - a Value's types are there at run time
from wherry_protocol.containers import Output, Started
from wherry_protocol.system import Progress
from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 200
"""Bytes of standard error that an exception's text repeats: the end, where programs say why."""


class Result(Value):
    """A run that has ended: which container, how, and everything it printed.

    With a tty, `stdout` holds the terminal's output and `stderr` is empty. `missing` bytes are in neither:
    its log dropped them, or we read too slowly for its limits.
    """

    id: str
    name: str
    exit: ExitStatus
    stdout: bytes
    stderr: bytes
    missing: int = 0

    @property
    def exit_code(self) -> int | None:
        """The code as a shell gives it (128+n for signal n); None when it cannot be known."""
        return self.exit.exit_code

    def check(self) -> Result:
        """Return self if the command ended with code 0. Raises ContainerFailed."""
        if self.exit.ok:
            return self
        tail = self.stderr[-_SHOWN:].decode("utf-8", "replace").strip()
        text = f"{self._called()} {describe(self.exit)}"
        raise ContainerFailed(f"{text}: {tail}" if tail else text, result=self)

    def _called(self) -> str:
        return f"container {self.name}"


class ExecResult(Result):
    """A command in a container that has ended: `id` is the exec's, `name` the container as it was called."""

    def _called(self) -> str:
        return f"command in container {self.name}"


class Collector:
    """Gathers a run's events into a Result."""

    def __init__(
        self,
        on_output: Callable[[Output], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._on_output = on_output
        self._on_progress = on_progress
        self._started: Started | None = None
        self._missing = 0
        self._streams = {1: bytearray(), 2: bytearray()}

    def __call__(self, event: Value) -> None:
        """Take one event in."""
        if isinstance(event, Output):
            self._streams[event.stream] += event.data
            if event.gap is not None:
                self._missing += event.gap.bytes
            if self._on_output is not None:
                self._on_output(event)
        elif isinstance(event, Started):
            self._started = event
        elif isinstance(event, Progress) and self._on_progress is not None:
            self._on_progress(event)

    def result(self, status: ExitStatus) -> Result:
        """Return everything gathered."""
        started = self._started or Started(id="", name="")
        out, err = self._streams.values()
        return Result(
            id=started.id,
            name=started.name,
            exit=status,
            stdout=bytes(out),
            stderr=bytes(err),
            missing=self._missing,
        )


def describe(status: ExitStatus) -> str:
    """Return in words how a container ended."""
    if status.signal is not None:
        how = f"was killed by signal {status.signal}"
    elif status.code is not None:
        how = f"ended with code {status.code}"
    else:
        how = f"ended, nobody knows how ({status.error})" if status.error else "ended, nobody knows how"
    return f"{how} (out of memory)" if status.oom_killed else how
