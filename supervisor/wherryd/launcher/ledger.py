"""What was asked of launchers and what they hold, by what they tell. Supervisor side.

Owns every start under way and every process from its start to its release, with duplicates of its descriptors
for the day when its launcher dies: the next one gets them. Must never guess an exit.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import Busy
from wherryd import journal
from wherryd.kernel.hints import hint as known_hint
from wherryd.launcher import wire
from wherryd.launcher.asked import Asked, Held
from wherryd.launcher.orphan import exit_by, wait_orphan
from wherryd.launcher.outcome import Adopted, Exit, Ran, Spawned, SpawnFailed, descriptors
from wherryd.shortage import until_there_is_some
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from wherryd.launcher.link import Link

LOST = "launcher"
"""The step of a start whose launcher died: there may be a process of it, which nobody knows."""

UNHELD = "hold"
"""The step of a start that we had no descriptor for: its process was killed; what that began may be left."""

_SIGKILL = 9

_UNTOLD = (None, None, False, None, False, None)
"""What `held` tells of a process; older launchers leave the last of it out."""


class Ledger:
    """All launchers' processes. `found` is what they held when we came, descriptors included."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pending: dict[str, Asked] = {}
        self.held: dict[str, Held] = {}
        self.found: list[Adopted] = []
        self._nursery = nursery
        self._on: dict[str, Callable[..., None]] = {
            "spawned": self._on_spawned,
            "failed": self._on_failed,
            "exited": self._on_exited,
            "ran": self._on_ran,
            "held": self._on_held,
            "listed": self._on_listed,
        }

    def take(self, link: Link, message: tuple[Any, ...], fds: list[int]) -> None:
        """Take a launcher's message in."""
        what, *fields = message
        handler = self._on.get(what)
        if handler is not None:
            handler(link, fds, *fields)
            return
        journal.warning("launcher told something unknown", pid=link.pid, what=what)
        for fd in fds:
            os.close(fd)

    def ask(
        self, link: Link, name: str, request: bytes, fds: tuple[int, ...], note: bytes | None = None
    ) -> Asked:
        """Ask a launcher for a start; a `note` is an exec's."""
        link.send(request, fds)
        asked = self.pending[name] = Asked(name, link, note)
        return asked

    def abandon(self, asked: Asked) -> None:
        """Call a start off."""
        asked.abandoned = True
        asked.link.say("kill", asked.name, _SIGKILL)
        if asked.spawned is not None:
            self._discard(asked.link, asked.spawned)

    def forget(self, name: str) -> Link | None:
        """Drop what is known of a process; return who has it."""
        held = self.held.pop(name, None)
        if held is None:
            return None
        held.close()
        return held.link

    def has_nothing_of(self, link: Link) -> bool:
        """Say whether a launcher that has told all holds nothing, and has nothing to answer."""
        holds = any(each.link is link for each in self.held.values())
        answers = any(each.link is link for each in self.pending.values())
        return link.listed.is_set() and not holds and not answers

    def close(self) -> None:
        """Close every descriptor."""
        for held in self.held.values():
            held.close()
        self.held.clear()

    def drop(self, name: str, kind: str) -> Link | None:
        """Drop a descriptor of a process; return who has it."""
        held = self.held.get(name)
        if held is None:
            return None
        held.drop(kind)
        return held.link

    def orphans_of(self, link: Link) -> bool:
        """Say whether anything is left that a launcher held which died."""
        return any(held.link is link for held in self.held.values())

    def hand_over(self, dead: Link, heir: Link) -> None:
        """Give what a launcher held that died to another one, for the supervisor after us."""
        for name, held in self.held.items():
            if held.link is dead:
                held.link = heir
                code, signal = (held.exit.code, held.exit.signal) if held.exit is not None else (None, None)
                heir.send(
                    wire.pack("keep", name, held.pid, tuple(held.fds), code, signal, held.note),
                    tuple(held.fds.values()),
                )

    def lose(self, link: Link) -> None:
        """Take note that a launcher died: starts in flight fail, exits are read through the pidfds."""
        link.listed.set()
        for pending in [each for each in self.pending.values() if each.link is link]:
            del self.pending[pending.name]
            pending.failure = SpawnFailed(
                step=LOST, op="spawn", path=None, errno=errno.EPIPE, hint="the launcher died: try again"
            )
            pending.answer()
        for held in self.held.values():
            if held.link is link:
                self._watch(held)

    def _watch(self, held: Held) -> None:
        """Read its exit through its pidfd: its launcher is dead."""
        if held.exit is None and not held.orphan:
            held.orphan = True
            start_soon(self._nursery, _watch_orphan, held)

    def _discard(self, link: Link, spawned: Spawned) -> None:
        spawned.close()
        link.say("kill", spawned.id, _SIGKILL)
        self.forget(spawned.id)
        link.say("release", spawned.id)

    # What launchers tell; what newer ones add at the end is left out.

    def _on_spawned(
        self, link: Link, fds: list[int], name: str, pid: int, kinds: tuple[str, ...], *_more: Any
    ) -> None:
        pending = self.pending.get(name)
        if len(fds) < len(kinds):
            if pending is not None:
                self._give_up(link, pending)
            return
        spawned = Spawned(id=name, pid=pid, **descriptors(kinds, fds))
        if pending is None:
            spawned.close()  # started for the supervisor before us: `held` tells of it in a moment
            return
        if pending.abandoned:
            self._discard(link, spawned)
        elif not self._hold(link, spawned, pending):
            spawned.close()
            self._give_up(link, pending)
            return
        del self.pending[name]
        pending.answer()

    def _hold(self, link: Link, spawned: Spawned, pending: Asked) -> bool:
        try:
            self.held[spawned.id] = Held(spawned, link, pending.note)
        except OSError as error:
            journal.error("no descriptors left to hold what was started", id=spawned.id, error=error)
            return False
        pending.spawned = spawned
        return True

    def _give_up(self, link: Link, pending: Asked) -> None:
        """Have what was started killed: we have no descriptors for it. The answer follows its end."""
        pending.failure = SpawnFailed(
            step=UNHELD, op="recvmsg", path=None, errno=errno.EMFILE, hint=known_hint("recvmsg", errno.EMFILE)
        )
        link.say("kill", pending.name, _SIGKILL)

    def _on_failed(self, _link: Link, _fds: list[int], name: str, step: str, *reason: Any) -> None:
        op, path, number, hint, *_more = reason
        pending = self.pending.pop(name, None)
        if pending is not None:
            pending.failure = SpawnFailed(step=step, op=op, path=path, errno=number, hint=hint)
            pending.answer()

    def _on_exited(
        self,
        link: Link,
        _fds: list[int],
        name: str,
        code: int | None,
        signal: int | None,
        told: bool = False,
        at: float | None = None,
        *_more: Any,
    ) -> None:
        pending = self.pending.get(name)
        if pending is not None and pending.failure is not None:
            del self.pending[name]
            link.say("release", name)
            pending.answer()
            return
        held = self.held.get(name)
        # A launcher that hung up tells on its next connection.
        if held is not None and (held.link is link or held.link.pid == link.pid):
            held.end(Exit(code=code, signal=signal, told=told, at=at))

    def _on_ran(
        self,
        link: Link,
        fds: list[int],
        name: str,
        pid: int,
        code: int | None,
        signal: int | None,
        told: bool = False,
        *_more: Any,
    ) -> None:
        pending = self.pending.pop(name, None)
        if pending is None:
            self._on_exited(link, fds, name, code, signal)  # asked for by the supervisor before us
        elif pending.abandoned:
            link.say("release", name)
            pending.answer()
        else:
            pending.ran = Ran(pid=pid, exit=Exit(code=code, signal=signal, told=told))
            pending.answer()

    def _on_held(
        self, link: Link, fds: list[int], name: str, pid: int, kinds: tuple[str, ...], *state: Any
    ) -> None:
        told: tuple[Any, ...] = (*state, *_UNTOLD[len(state) :])
        code, signal, in_flight, note, kept, at, *_more = told
        ended = None if code is None and signal is None else Exit(code=code, signal=signal, at=at)
        if len(fds) < len(kinds):
            raise Busy(
                f"container {name} cannot be taken back: {os.strerror(errno.EMFILE)}",
                hint="raise the supervisor's LimitNOFILE and start it again; nothing was touched",
                errno=errno.EMFILE,
            )
        if kept and ended is None:
            ended = exit_by(fds[kinds.index("pidfd")])
        adopted = Adopted(id=name, pid=pid, exit=ended, note=note, **descriptors(kinds, fds))
        if in_flight:
            # Its start was a dead supervisor's, who never counted it as started.
            adopted.close()
            self.pending[name] = pending = Asked(name, link)
            self.abandon(pending)
            return
        self.held[name] = held = Held(adopted, link, note)
        if ended is not None:
            held.end(ended)
        elif kept:
            self._watch(held)
        self.found.append(adopted)

    def _on_listed(self, link: Link, _fds: list[int], *_more: Any) -> None:
        link.listed.set()


async def _watch_orphan(held: Held) -> None:
    held.end(await until_there_is_some("an exit", partial(_exit_of, held)))


async def _exit_of(held: Held) -> Exit:
    pidfd = held.fds.get("pidfd")
    return Exit() if pidfd is None else await wait_orphan(pidfd)  # None: nobody wants to know any more
