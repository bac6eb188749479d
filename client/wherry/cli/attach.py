"""A container in the foreground: its output on ours, our input and signals to it.

Owns the poll loop of `run`, `start -a` and `attach`. Leaving it, whatever the reason, leaves the container
alone. Must never wait on anything but the poll (and on writing our own output).
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack, suppress

from wherry.cli.input import Input
from wherry.cli.keys import DEFAULT_KEYS
from wherry.cli.main import complain, tell_away
from wherry.cli.output import gap_words, write_all
from wherry.cli.progress import ProgressBar
from wherry.cli.signals import FORWARDED, ON_TERMINAL, Impatience, SignalPipe
from wherry.result import describe
from wherry_protocol.containers import Output, Started
from wherry_protocol.errors import Conflict, NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.terminal import RawTerminal
    from wherry.client import Client
    from wherry.event_stream import EventStream
    from wherry_protocol.container_state import ExitStatus

UNKNOWN_EXIT = 125


class _LeftError(Exception):
    """The user left while there was no supervisor."""


class Attachment:
    """One container in the foreground. `on_start` is told when its command is executing.

    `keys` leave it running. Who is `joining` one that runs has its terminal drawn anew, and does not end its
    input with his own, as under docker. Without `sig_proxy` signals are ours, not the container's.
    """

    def __init__(
        self,
        client: Client,
        stream: EventStream[Any, ExitStatus],
        *,
        interactive: bool,
        tty: bool,
        on_start: Callable[[Started], None] | None = None,
        keys: bytes = DEFAULT_KEYS,
        joining: bool = False,
        sig_proxy: bool = True,
    ) -> None:
        self._client = client
        self._stream = stream
        self._interactive = interactive
        self._tty = tty
        self._keys = keys
        self._joining = joining
        self._sig_proxy = sig_proxy
        self._on_start = on_start
        self._started: Started | None = None
        self._input = Input()
        self._raw: RawTerminal | None = None
        self._impatience = Impatience()
        self._left: int | None = None
        self._away = False
        self._owed = False

    def run(self) -> int:
        """Stay until the container ends, or the user leaves; return the exit code."""
        with ExitStack() as stack:
            stack.enter_context(self._stream)
            self._bar = stack.enter_context(ProgressBar())
            self._signals = stack.enter_context(SignalPipe(ON_TERMINAL if self._tty else FORWARDED))
            stack.callback(self._input.close)
            if self._tty and self._interactive:
                from wherry.cli.terminal import RawTerminal

                self._raw = stack.enter_context(RawTerminal())
            if self._stream.again is not None:
                self._stream.again.pause, self._stream.again.tell = self._pause, self._tell_away
            with suppress(_LeftError):
                while not self._stream.ended and self._left is None:
                    self._turn()
        return self._exit_code() if self._left is None else self._left

    def _turn(self) -> None:
        """Wait for something to happen and deal with all of it."""
        news = self._stream.fileno()
        if news in self._serve(news, None):
            for event in self._stream.receive():
                self._happened(event)
            self._settle()

    def _serve(self, news: int | None, seconds: float | None) -> set[int]:
        """Wait for signals, input or news, deal with the first two, and return what is ready."""
        poll = select.poll()
        if news is not None:
            poll.register(news, select.POLLIN)
        poll.register(self._signals.fileno(), select.POLLIN)
        self._input.register(poll)
        ready = {fd for fd, _events in poll.poll(None if seconds is None else int(seconds * 1000) + 1)}
        if self._signals.fileno() in ready:
            for number in self._signals.take():
                self._signalled(number)
        if self._input.serve(ready):
            self._end_input()
        if self._input.detached:
            self._leave(0, "detached: {} runs on")
        return ready

    def _pause(self, seconds: float) -> None:
        """Wait while there is no supervisor: input passes on all the same, and the user may leave."""
        self._away = True
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._serve(None, left)
            if self._left is not None:
                raise _LeftError

    def _settle(self) -> None:
        """Do what had to wait for a supervisor."""
        if self._away:
            self._away = False
            if self._owed:
                self._owed = False
                self._end_input()

    def _tell_away(self, away: bool) -> None:
        tell_away(away, raw=self._raw is not None)

    def _happened(self, event: Any) -> None:
        if isinstance(event, Output):
            if event.gap is not None:
                complain(gap_words(event.gap), raw=self._raw is not None)
            write_all(event.stream, event.data)
        elif isinstance(event, Started):
            self._start(event)
        else:
            self._bar.show(event)

    def _start(self, started: Started) -> None:
        self._bar.clear()
        self._started = started
        fd = self._stream.take_fd()
        if fd is not None:
            self._input.open(fd, reading=self._interactive, keys=self._keys if self._tty else None)
        if self._joining and self._tty:
            self._resize(anew=True)
        if self._on_start is not None:
            self._on_start(started)

    def _signalled(self, number: int) -> None:
        if self._tty:
            self._signalled_on_terminal(number)
        elif self._started is None:
            self._left = 128 + number
        elif self._away or not self._sig_proxy or (number == signal.SIGINT and self._impatience.grows()):
            self._leave(128 + number, "{} runs on")
        else:
            with suppress(NotFound, Conflict):  # it has ended meanwhile: its exit is on the way
                self._client.kill(self._started.id, number)

    def _signalled_on_terminal(self, number: int) -> None:
        if number == signal.SIGCONT and self._raw is not None:
            self._raw.apply()
        if number in {signal.SIGCONT, signal.SIGWINCH}:
            self._resize()
        elif self._raw is not None or self._started is None or self._joining or self._away:
            self._leave(128 + number, "{} runs on")
        else:
            with suppress(NotFound, Conflict):  # it has ended meanwhile: its exit is on the way
                self._client.kill(self._started.id, number)

    def _resize(self, *, anew: bool = False) -> None:
        from wherry.cli.terminal import STDIN, set_size, terminal_size

        if self._input.fd is None or not os.isatty(STDIN):
            return
        rows, columns = terminal_size()
        if anew:
            # A size that was there already tells nobody: programs redraw when it changes.
            set_size(self._input.fd, (rows, columns + 1))
        set_size(self._input.fd, (rows, columns))

    def _leave(self, code: int, text: str) -> None:
        self._left = code
        if self._started is not None:
            complain(text.format(self._started.name), raw=self._raw is not None)

    def _end_input(self) -> None:
        """Pass the end of our input on; with a terminal the user's ctrl-d does that."""
        if self._away:
            self._owed = True
        elif self._started is not None and not self._tty and not self._joining:
            with suppress(NotFound, Conflict):  # it has ended meanwhile: its exit is on the way
                self._client.close_stdin(self._started.id)

    def _exit_code(self) -> int:
        status = self._stream.answer
        if status.exit_code is None:
            complain(f"the container {describe(status)}")
            return UNKNOWN_EXIT
        return status.exit_code
