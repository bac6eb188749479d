"""Everything that the launcher holds: containers and execs, from their start to their release.

Owns the entries, and tells the supervisor of their lives. Must never wait for a process.
"""

from __future__ import annotations

import os

from wherryd.kernel import failpoints
from wherryd.kernel.pidfd import pidfd_send_signal
from wherryd.launcher.entry import Entry, interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from wherryd.launcher.crew import Crew
    from wherryd.launcher.moment import Moment

    class Say(Protocol):
        """Tells the supervisor, if there is one."""

        def __call__(self, *message: Any, fds: tuple[int, ...] = ()) -> None:
            """Send a message."""
            ...


_SIGKILL = 9


class Holdings:
    """All entries. `signals` is readable when a child has ended (signalfd(2))."""

    def __init__(self, signals: int, crew: Crew, moment: Moment, say: Say) -> None:
        self._signals = signals
        self._crew = crew
        self._moment = moment
        self._say = say
        self._entries: dict[str, Entry] = {}
        self._by_pid: dict[int, Entry] = {}
        self._early: dict[int, tuple[int | None, int | None]] = {}
        self._begun: list[Entry] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def patience(self) -> float | None:
        """How long the loop may sleep before it calls `tell_begun`: None is for ever."""
        return min([0.0 if entry.exit else self._moment.left(entry) for entry in self._begun], default=None)

    def add(self, entry: Entry) -> None:
        """Take in what has just been ordered."""
        self._entries[entry.id] = entry
        self._moment.begin(entry)

    def forget_who_asked(self) -> None:
        """Take note that another supervisor is there: it did not ask for anything brief."""
        for entry in self._entries.values():
            entry.brief = False

    # Requests

    def release(self, name: str) -> None:
        """Forget one that has ended, or is let go, and close its descriptors."""
        failpoints.hit("launcher.release")
        entry = self._entries.get(name)
        if entry is not None and not entry.pending:
            del self._entries[name]
            self._by_pid.pop(entry.pid, None)
            entry.close()

    def close_stdin(self, name: str) -> None:
        """Close our end of its standard input."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.drop("stdin")

    def drop_lifeline(self, name: str) -> None:
        """Let it go on without its client."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.drop("lifeline")

    def kill(self, name: str, signal: int) -> None:
        """Send a signal to its process, or end its set-up."""
        entry = self._entries.get(name)
        if entry is None or entry.exit is not None:
            return
        if entry.pending:
            if self._crew.drop(entry):
                return  # closing its status socket told the loop
            entry.read_status()
        target = entry.fds.get("pidfd")
        if target is not None:
            pidfd_send_signal(target, signal)
        else:
            self._crew.kill(entry)
            entry.call_off()

    def keep(self, name: str, pid: int, kinds: tuple[str, ...], *state: Any, fds: list[int]) -> None:
        """Hold what another launcher held until it died. Its end is not ours to see, and not told."""
        failpoints.hit("launcher.keep")
        if name not in self._entries:
            held = dict(zip(kinds, map(os.dup, fds), strict=True))
            self._entries[name] = Entry.kept_for(name, pid, held, *state)

    def tell_all(self) -> None:
        """Tell of all that is held, with the descriptors."""
        failpoints.hit("launcher.list")
        for entry in self._entries.values():
            code, signal = entry.exit or (None, None)
            state = (code, signal, entry.pending, entry.note, entry.kept, entry.ended_at)
            self._say("held", entry.id, entry.pid, entry.kinds, *state, fds=tuple(entry.fds.values()))
        self._say("listed")

    # Lives

    def on_told(self, entry: Entry) -> None:
        """Go on with a start of which everybody has told who could."""
        entry.close_status()
        failpoints.hit("launcher.told")
        if entry.pid:
            self._by_pid[entry.pid] = entry
            self._end(entry, self._early.pop(entry.pid, None))
            if entry.doomed and entry.exit is None:
                os.kill(entry.pid, _SIGKILL)  # it is our child, and not reaped yet
        elif not entry.over:
            entry.call_off()  # its worker forked, and died before it could tell: nobody knows that process
        if entry.executing and entry.pid and entry.failure is None:
            entry.pending = False
            self._begun.append(entry)
        else:
            self._moment.end(entry)
        self._settle(entry)

    def tell_begun(self) -> None:
        """Tell which commands execute; that it has ended is told with it of a brief one.

        Not of one that SIGKILL ended: who finds out why wants its descriptors.
        """
        begun, self._begun = self._begun, []
        for entry in begun:
            if entry.brief and entry.exit is not None and entry.exit[1] != _SIGKILL:
                self._moment.end(entry)
                self._say("ran", entry.id, entry.pid, *entry.exit, entry.told)
                continue
            if entry.brief and entry.exit is None and self._moment.left(entry) > 0:
                self._begun.append(entry)
                continue
            self._moment.end(entry)
            self._say("spawned", entry.id, entry.pid, entry.kinds, fds=tuple(entry.fds.values()))
            self._settle(entry)

    def on_signal(self, _events: int) -> None:
        """See which children have ended."""
        os.read(self._signals, 4096)
        while True:
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if result is None:
                return
            exited = result.si_code == os.CLD_EXITED
            ended = (result.si_status, None) if exited else (None, result.si_status)
            entry = self._by_pid.get(result.si_pid)
            if entry is not None:
                failpoints.hit("launcher.exited")
                self._end(entry, ended)
                self._settle(entry)
            else:
                self._on_stranger(result.si_pid, ended)

    def _on_stranger(self, pid: int, ended: tuple[int | None, int | None]) -> None:
        """A worker, an orphan that we inherited, or a container's process of which nobody has told yet."""
        if any(entry.status for entry in self._entries.values()):
            self._early[pid] = ended
        else:
            self._early.clear()
        for entry in [entry for entry in self._entries.values() if entry.over]:
            self._settle(entry)

    def _end(self, entry: Entry, ended: tuple[int | None, int | None] | None) -> None:
        if ended is not None:
            del self._by_pid[entry.pid]
            entry.end(ended)

    def _settle(self, entry: Entry) -> None:
        """Tell what is known of an ended container; a failed start is told when nothing of it is left."""
        if not entry.pending:
            if entry.exit is not None:
                if entry not in self._begun:
                    self._say("exited", entry.id, *entry.exit, entry.told, entry.ended_at)
                self._crew.prepare()
        elif entry.over:
            del self._entries[entry.id]
            entry.close()
            self._say("failed", entry.id, *(entry.failure or interrupted(entry)))
