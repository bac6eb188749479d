"""The supervisor's handle on the launchers: spawn, wait for the exit, release.

Owns the connections: one to the current launcher, which takes all new work, and one to each that drains (see
finding.py). A process that joins a container is the current one's, too, whoever is the container's parent.
Must never block on a launcher, and never guess an exit.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from wherryd import journal
from wherryd.launcher.asked import Asked
from wherryd.launcher.finding import find, renew
from wherryd.launcher.ledger import LOST, UNHELD, Ledger
from wherryd.launcher.outcome import Adopted, Exit, Spawned, SpawnFailed
from wherryd.launcher.requests import EXPECT, join_request, spawn_request
from wherryd.launcher.start import LauncherUnavailable
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from wherryd.launcher.exec_plan import ExecPlan
    from wherryd.launcher.link import Link
    from wherryd.launcher.plan import Plan

__all__ = [
    "LOST", "UNHELD", "Adopted", "Asked", "Exit", "Launcher", "LauncherUnavailable", "SpawnFailed", "Spawned",
    "open_launcher",
]  # fmt: skip

_PAUSE = 1.0  # seconds between launchers that end by themselves
_ABANDON_GRACE = 1.0  # seconds; a set-up that is stuck in the kernel may end much later


class Launcher:
    """A launcher process, replaced by a new one when it dies, and others that drain. Made by `open_launcher`.

    `found` says whether the launcher that took work before we came still lived; `adopted` is what it and the
    others held, descriptors included: the caller's from then on.
    """

    def __init__(self, run_dir: Path, nursery: trio.Nursery) -> None:
        self.found = False
        self.adopted: tuple[Adopted, ...] = ()
        self._run_dir = run_dir
        self._nursery = nursery
        self._current: Link | None = None
        self._draining: list[Link] = []
        self._connecting = trio.Lock()
        self._ledger = Ledger(nursery)
        self._replaced = -_PAUSE

    @property
    def pid(self) -> int | None:
        """The current launcher's process id; None between its death and the next spawn."""
        return self._current.pid if self._current else None

    @property
    def draining(self) -> tuple[int, ...]:
        """The process ids of those that keep what they hold, and take no new work."""
        return tuple(link.pid for link in self._draining)

    async def connect(self) -> None:
        """Find the launchers, or start one, and take over what they hold."""
        links, self.found = await find(self._run_dir, self._nursery)
        for link in links:
            if link.drains:
                self._draining.append(link)
            else:
                self._current = link
            start_soon(self._nursery, self._receive, link)
            link.say("list")
        for link in links:
            await link.listed.wait()
        self.adopted = tuple(self._ledger.found)
        self._ledger.found.clear()
        for link in tuple(self._draining):
            self._look_after(link)
        await self._connected()

    async def spawn(self, plan: Plan, netns: int | None = None) -> Spawned:
        """Start a container; returns when its command executes. The descriptors are the caller's.

        A cancelled spawn leaves nothing behind. Raises SpawnFailed, LauncherUnavailable.
        """
        return await self._start(plan.id, *spawn_request(plan, netns))

    def ask(self, plan: Plan, netns: int | None = None) -> Asked | None:
        """Ask for a container's start, in this very step; `answer` is to follow, whatever happens.

        None, and nothing done, when it is not possible at once: `spawn` it then.
        """
        if self._current is None or plan.id in self._ledger.pending:
            return None
        return self._ledger.ask(self._current, plan.id, *spawn_request(plan, netns))

    async def answer(self, asked: Asked) -> Spawned:
        """Do as `spawn` does, with what was asked for."""
        try:
            await asked.answered.wait()
        except BaseException:
            await self.call_off(asked)
            raise
        failure, asked.failure = asked.failure, None  # what it comes through leads back to what was asked
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        assert asked.spawned is not None  # noqa: S101 - an answer is one or the other
        return asked.spawned

    async def call_off(self, asked: Asked) -> None:
        """End what was asked for; returns when nothing of it is left, or it is stuck in the kernel."""
        self._ledger.abandon(asked)
        with trio.CancelScope(shield=True), trio.move_on_after(_ABANDON_GRACE):
            await asked.answered.wait()

    async def join(
        self,
        plan: ExecPlan,
        note: bytes,
        container: int,
        streams: Sequence[int],
        lifeline: int | None = None,
        *,
        name: str = "",
    ) -> Spawned:
        """Start a process beside the first one of a container, whose pidfd is `container`.

        As `spawn`. The descriptors stay the caller's; `note` comes back with what a later supervisor adopts.
        `name` is what the process is called, else by the plan's id.
        """
        name = name or plan.id
        request = join_request(name, plan, note, container, streams, lifeline)
        return await self._start(name, *request, note)

    def ask_join(
        self,
        plan: ExecPlan,
        note: bytes,
        container: int,
        streams: Sequence[int],
        lifeline: int | None = None,
        *,
        name: str = "",
        brief: bool = False,
    ) -> Asked | None:
        """Ask for what `join` starts, in this very step; as `ask`.

        `brief`: it may end in a moment, and all of the answer is then that it `ran`. `release` it even so.
        """
        name = name or plan.id
        if self._current is None or name in self._ledger.pending:
            return None
        request, fds = join_request(name, plan, note, container, streams, lifeline, brief=brief)
        return self._ledger.ask(self._current, name, request, fds, note)

    def expect(self) -> None:
        """Tell the launcher that something brief is about to be asked for."""
        if self._current is not None:
            self._current.send(EXPECT)

    async def _start(
        self, name: str, request: bytes, fds: tuple[int, ...], note: bytes | None = None
    ) -> Spawned:
        await self._settled(name)
        link = self._current or await self._connected()
        return await self.answer(self._ledger.ask(link, name, request, fds, note))

    async def wait_exit(self, name: str) -> Exit:
        """Return how a container ended, once it has. Remembered until `release`; KeyError after that."""
        held = self._ledger.held[name]
        if held.exit is None:
            if held.ended is None:
                held.ended = trio.Event()
            await held.ended.wait()
        return held.exit or Exit()

    def on_exit(self, name: str, then: Callable[[Exit], None]) -> None:
        """Have a function called in the step in which a process's end becomes known; at once, if it is."""
        held = self._ledger.held[name]
        if held.exit is not None:
            then(held.exit)
        else:
            held.then = then

    def release(self, name: str) -> None:
        """Let its launcher forget a container and close its descriptors; unknown ones are fine."""
        link = self._ledger.forget(name)
        # One that hung up, and was found alive again, has it still.
        self._say(link, "release", name)
        if link is not None:
            self._look_after(link)

    def close_stdin(self, name: str) -> None:
        """Let its launcher drop its duplicate of the standard input pipe."""
        self._say(self._ledger.drop(name, "stdin"), "close_stdin", name)

    def drop_lifeline(self, name: str) -> None:
        """Let its launcher drop its duplicate of an exec's lifeline: it goes on without its client."""
        self._say(self._ledger.drop(name, "lifeline"), "drop_lifeline", name)

    def close(self) -> None:
        """Hang up; the launchers and their containers stay."""
        self._ledger.close()
        for link in (self._current, *self._draining):
            if link is not None:
                link.close()

    def _say(self, link: Link | None, *message: Any) -> None:
        target = self._current if link is None or link.lost else link
        if target is not None:
            target.say(*message)

    async def _connected(self) -> Link:
        async with self._connecting:
            if self._current is None:
                self._current = await renew(self._run_dir, self._nursery)
                self._current.listed.set()  # what it held before it hung up on us is known
                start_soon(self._nursery, self._receive, self._current)
            return self._current

    async def _settled(self, name: str) -> None:
        """Wait for the end of an abandoned spawn of the same container."""
        pending = self._ledger.pending.get(name)
        if pending is not None:
            await pending.answered.wait()

    async def _receive(self, link: Link) -> None:
        async for message, fds in link.messages():
            self._ledger.take(link, message, fds)
            self._look_after(link)
        self._lose(link)

    def _look_after(self, link: Link) -> None:
        """Let one that drains go, once it has nothing."""
        if link.drains and not link.lost and self._ledger.has_nothing_of(link):
            link.retire()

    def _lose(self, link: Link) -> None:
        link.close()
        if link.retiring:
            journal.info("launcher that drained has ended", pid=link.pid)
            link.path.unlink(missing_ok=True)  # those before version 5 leave it
        else:
            journal.error("launcher lost: its containers go on", pid=link.pid)
        if link.drains:
            self._draining.remove(link)
        elif self._current is link:
            self._current = None
        self._ledger.lose(link)
        if self._ledger.orphans_of(link):
            start_soon(self._nursery, self._replace, link)

    async def _replace(self, dead: Link) -> None:
        """Have what a launcher held that died be held by another one, or we would be the only ones."""
        pause = _PAUSE if trio.current_time() - self._replaced < _PAUSE else 0.0
        await trio.sleep(pause)
        self._replaced = trio.current_time()
        try:
            heir = await self._connected()
        except LauncherUnavailable as error:
            journal.error("no launcher: what runs is lost if the supervisor dies, too", error=error)
            return
        self._ledger.hand_over(dead, heir)


@asynccontextmanager
async def open_launcher(run_dir: Path) -> AsyncGenerator[Launcher]:
    """Connect to the launchers of `run_dir`, or start one; hang up at the end. Raises LauncherUnavailable."""
    with ExitStack() as stack:
        # After its tasks have ended: one that was just woken would still read from the socket.
        async with open_nursery() as nursery:
            launcher = Launcher(run_dir, nursery)
            stack.callback(launcher.close)
            await launcher.connect()
            yield launcher
            nursery.cancel_scope.cancel()
