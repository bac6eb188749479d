"""A command of exec in the foreground: its output on ours, our input, signals and window size to it.

Owns the poll loop. Leaving it, whatever the reason, ends the command, unless the keys for that were pressed.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import ExitStack, suppress

from wherry.cli.input import Input
from wherry.cli.main import complain
from wherry.cli.output import write_all
from wherry.cli.signals import FORWARDED, ON_TERMINAL, Impatience, SignalPipe
from wherry.result import describe
from wherry_protocol.errors import NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from wherry.cli.terminal import RawTerminal
    from wherry.process import Process

UNKNOWN_EXIT = 125
_CHUNK = 1 << 16


class ExecLoop:
    """One command in the foreground."""

    def __init__(
        self, start: Callable[[], Process], ref: str, *, interactive: bool, tty: bool, keys: bytes
    ) -> None:
        self._start = start
        self._ref = ref
        self._interactive = interactive
        self._tty = tty
        self._keys = keys
        self._input = Input()
        self._raw: RawTerminal | None = None
        self._impatience = Impatience()
        self._left: int | None = None
        self._outputs: dict[int, int] = {}

    def run(self) -> int:
        """Stay until the command ends, or the user leaves; return the exit code."""
        with ExitStack() as stack:
            # Before the start: a signal that we do not take would kill us, and with us the command.
            signals = stack.enter_context(SignalPipe(ON_TERMINAL if self._tty else FORWARDED))
            self._process = stack.enter_context(self._start())
            stack.callback(self._input.close)
            self._take_streams()
            if self._tty and self._interactive:
                from wherry.cli.terminal import RawTerminal

                self._raw = stack.enter_context(RawTerminal())
            while not self._process.ended and self._left is None:
                self._turn(signals)
            if self._left is None:
                self._drain()
            return self._exit_code() if self._left is None else self._left

    def _take_streams(self) -> None:
        process = self._process
        for target, file in ((1, process.stdout), (2, process.stderr)):
            if file is not None:
                self._show(file, target)
        if process.stdin is not None:
            self._input.open(os.dup(process.stdin.fileno()), reading=True)
            process.stdin.close()

    def _show(self, file: IO[bytes] | int, target: int) -> None:
        fd = file if isinstance(file, int) else file.fileno()
        os.set_blocking(fd, False)
        self._outputs[fd] = target

    def _turn(self, signals: SignalPipe) -> None:
        """Wait for something to happen and deal with all of it."""
        poll = select.poll()
        for fd in (self._process.fileno(), signals.fileno(), *self._outputs):
            poll.register(fd, select.POLLIN)
        self._input.register(poll)
        ready = {fd for fd, _events in poll.poll()}
        for number in signals.take() if signals.fileno() in ready else ():
            self._signalled(number)
        self._input.serve(ready)
        if self._input.detached:
            self._process.detach()
            self._leave(0, "detached: the command in {} runs on")
        for fd in ready & self._outputs.keys():
            self._move(fd)
        if self._process.fileno() in ready:
            self._news()

    def _news(self) -> None:
        self._process.receive()
        master = self._process.terminal
        if master is not None and master not in self._outputs and self._input.fd is None:
            self._show(master, 1)
            self._input.open(os.dup(master), reading=self._interactive, keys=self._keys)

    def _move(self, fd: int) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: nobody has the terminal open any more
        if not data:
            del self._outputs[fd]
            return False
        write_all(self._outputs[fd], data)
        return True

    def _drain(self) -> None:
        """Show what was printed before the end; what processes that it left behind print is dropped."""
        for fd in tuple(self._outputs):
            while self._move(fd):
                pass

    def _signalled(self, number: int) -> None:
        if self._tty and number in {signal.SIGCONT, signal.SIGWINCH}:
            self._resize(number)
        elif self._tty:
            self._leave(128 + number, None)
        elif number == signal.SIGINT and self._impatience.grows():
            self._leave(128 + number, "the command in {} is killed")
        else:
            with suppress(NotFound):  # it has ended meanwhile: its exit is on the way
                self._process.send_signal(number)

    def _resize(self, number: int) -> None:
        from wherry.cli.terminal import terminal_size

        if number == signal.SIGCONT and self._raw is not None:
            self._raw.apply()
        self._process.resize(*terminal_size())

    def _leave(self, code: int, text: str | None) -> None:
        self._left = code
        if text is not None:
            complain(text.format(self._ref), raw=self._raw is not None)

    def _exit_code(self) -> int:
        status = self._process.wait()
        if status.error is not None:
            complain(f"exec: {status.error}")
        elif status.exit_code is None:
            complain(f"exec: the command {describe(status)}")
        return UNKNOWN_EXIT if status.exit_code is None else status.exit_code
