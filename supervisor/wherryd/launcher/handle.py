"""The supervisor's handle on the launcher: spawn, wait for the exit, release.

Owns the connection, and a duplicate of each container's pidfd for the day when the launcher dies.
Must never block on the launcher, and never guess an exit.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from wherryd import journal
from wherryd.launcher import wire
from wherryd.launcher.asked import Asked, Held
from wherryd.launcher.exec_plan import JOIN
from wherryd.launcher.link import Link, open_link
from wherryd.launcher.orphan import wait_orphan
from wherryd.launcher.outcome import Adopted, Exit, Spawned, SpawnFailed, descriptors
from wherryd.launcher.start import LauncherUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from wherryd.launcher.exec_plan import ExecPlan
    from wherryd.launcher.plan import Plan

__all__ = [
    "LOST", "Adopted", "Asked", "Exit", "Launcher", "LauncherUnavailable", "SpawnFailed", "Spawned",
    "open_launcher",
]  # fmt: skip

LOST = "launcher"
"""The step of a start whose launcher died: there may be a process of it, which nobody knows."""

_SIGKILL = 9
_ABANDON_GRACE = 1.0  # seconds; a set-up that is stuck in the kernel may end much later


class Launcher:
    """A launcher process, replaced by a new one when it dies. Made by `open_launcher`.

    `found` says whether there was a living launcher when we came; `adopted` is what it held, descriptors
    included: the caller's from then on.
    """

    def __init__(self, run_dir: Path, nursery: trio.Nursery) -> None:
        self.found = False
        self.adopted: tuple[Adopted, ...] = ()
        self._run_dir = run_dir
        self._nursery = nursery
        self._link: Link | None = None
        self._connecting = trio.Lock()
        self._pending: dict[str, Asked] = {}
        self._held: dict[str, Held] = {}
        self._listed = trio.Event()
        self._list: list[Adopted] = []
        self._on: dict[str, Callable[..., None]] = {
            "spawned": self._on_spawned,
            "failed": self._on_failed,
            "exited": self._on_exited,
            "held": self._on_held,
            "listed": self._on_listed,
        }

    @property
    def pid(self) -> int | None:
        """The launcher's process id; None between its death and the next spawn."""
        return self._link.pid if self._link else None

    async def connect(self) -> None:
        """Find or start the launcher, and take over what it holds."""
        link = await self._connected()
        self.found = link.found
        link.send(wire.pack("list"))
        await self._listed.wait()
        self.adopted = tuple(self._list)

    async def spawn(self, plan: Plan, netns: int | None = None) -> Spawned:
        """Start a container; returns when its command executes. The descriptors are the caller's.

        A cancelled spawn leaves nothing behind. Raises SpawnFailed, LauncherUnavailable.
        """
        return await self._start(plan.id, _request(plan), () if netns is None else (netns,))

    def ask(self, plan: Plan, netns: int | None = None) -> Asked | None:
        """Ask for a container's start, in this very step; `answer` is to follow, whatever happens.

        None, and nothing done, when it is not possible at once: `spawn` it then.
        """
        if self._link is None or plan.id in self._pending:
            return None
        return self._ask(self._link, plan.id, _request(plan), () if netns is None else (netns,))

    def _ask(self, link: Link, name: str, request: bytes, fds: tuple[int, ...]) -> Asked:
        link.send(request, fds)
        asked = self._pending[name] = Asked(name)
        return asked

    async def answer(self, asked: Asked) -> Spawned:
        """Do as `spawn` does, with what was asked for."""
        try:
            await asked.answered.wait()
        except BaseException:
            await self.call_off(asked)
            raise
        if asked.failure is not None:
            raise asked.failure
        assert asked.spawned is not None  # noqa: S101 - an answer is one or the other
        return asked.spawned

    async def call_off(self, asked: Asked) -> None:
        """End what was asked for; returns when nothing of it is left, or it is stuck in the kernel."""
        self._abandon(asked)
        with trio.CancelScope(shield=True), trio.move_on_after(_ABANDON_GRACE):
            await asked.answered.wait()

    async def join(
        self, plan: ExecPlan, note: bytes, container: int, streams: Sequence[int], lifeline: int | None = None
    ) -> Spawned:
        """Start a process beside the first one of a container, whose pidfd is `container`.

        As `spawn`. The descriptors stay the caller's; `note` comes back with what a later supervisor adopts.
        """
        request, fds = _join_request(plan, note, container, streams, lifeline)
        return await self._start(plan.id, request, fds)

    def ask_join(
        self, plan: ExecPlan, note: bytes, container: int, streams: Sequence[int], lifeline: int | None = None
    ) -> Asked | None:
        """Ask for what `join` starts, in this very step; as `ask`."""
        if self._link is None or plan.id in self._pending:
            return None
        return self._ask(self._link, plan.id, *_join_request(plan, note, container, streams, lifeline))

    async def _start(self, name: str, request: bytes, fds: tuple[int, ...]) -> Spawned:
        await self._settled(name)
        link = self._link or await self._connected()
        return await self.answer(self._ask(link, name, request, fds))

    async def wait_exit(self, name: str) -> Exit:
        """Return how a container ended, once it has. Remembered until `release`; KeyError after that."""
        held = self._held[name]
        if held.exit is None:
            if held.ended is None:
                held.ended = trio.Event()
            await held.ended.wait()
        return held.exit or Exit()

    def on_exit(self, name: str, then: Callable[[Exit], None]) -> None:
        """Have a function called in the step in which a process's end becomes known; at once, if it is."""
        held = self._held[name]
        if held.exit is not None:
            then(held.exit)
        else:
            held.then = then

    def release(self, name: str) -> None:
        """Let the launcher forget a container and close its descriptors; unknown ones are fine."""
        held = self._held.pop(name, None)
        if held is not None:
            os.close(held.pidfd)
        self._send("release", name)

    def close_stdin(self, name: str) -> None:
        """Let the launcher drop its duplicate of the standard input pipe."""
        self._send("close_stdin", name)

    def drop_lifeline(self, name: str) -> None:
        """Let the launcher drop its duplicate of an exec's lifeline: it goes on without its client."""
        self._send("drop_lifeline", name)

    def close(self) -> None:
        """Hang up; the launcher and its containers stay."""
        for held in self._held.values():
            os.close(held.pidfd)
        self._held.clear()
        if self._link is not None:
            self._link.close()

    def _send(self, *message: Any) -> None:
        if self._link is not None:
            self._link.send(wire.pack(*message))

    async def _connected(self) -> Link:
        async with self._connecting:
            if self._link is None:
                self._link = await open_link(self._run_dir, self._nursery)
                self._nursery.start_soon(self._receive, self._link)
            return self._link

    async def _settled(self, name: str) -> None:
        """Wait for the end of an abandoned spawn of the same container."""
        pending = self._pending.get(name)
        if pending is not None:
            await pending.answered.wait()

    def _abandon(self, pending: Asked) -> None:
        pending.abandoned = True
        self._send("kill", pending.name, _SIGKILL)
        if pending.spawned is not None:
            self._discard(pending.spawned)

    def _discard(self, spawned: Spawned) -> None:
        spawned.close()
        self._send("kill", spawned.id, _SIGKILL)
        self.release(spawned.id)

    async def _receive(self, link: Link) -> None:
        async for message, fds in link.messages():
            self._on[message[0]](*message[1:], fds=fds)
        self._lost(link)

    def _on_spawned(self, name: str, pid: int, kinds: tuple[str, ...], *, fds: list[int]) -> None:
        spawned = Spawned(id=name, pid=pid, **descriptors(kinds, fds))
        pending = self._pending.pop(name, None)
        if pending is None:
            spawned.close()  # started for the supervisor before us: `held` tells of it in a moment
            return
        if pending.abandoned:
            self._discard(spawned)
        else:
            self._held[name] = Held(os.dup(spawned.pidfd))
            pending.spawned = spawned
        pending.answer()

    def _on_failed(self, name: str, step: str, *reason: Any, fds: list[int]) -> None:  # noqa: ARG002 - every message has it
        op, path, number, hint = reason
        pending = self._pending.pop(name, None)
        if pending is not None:
            pending.failure = SpawnFailed(step=step, op=op, path=path, errno=number, hint=hint)
            pending.answer()

    def _on_exited(self, name: str, code: int | None, signal: int | None, *, fds: list[int]) -> None:  # noqa: ARG002 - as above
        held = self._held.get(name)
        if held is not None:
            held.end(Exit(code=code, signal=signal))

    def _on_held(self, name: str, pid: int, kinds: tuple[str, ...], *state: Any, fds: list[int]) -> None:
        code, signal, in_flight, note = state
        ended = None if code is None and signal is None else Exit(code=code, signal=signal)
        adopted = Adopted(id=name, pid=pid, exit=ended, note=note, **descriptors(kinds, fds))
        if in_flight:
            # Its start was a dead supervisor's, who never counted it as started.
            adopted.close()
            self._pending[name] = pending = Asked(name)
            self._abandon(pending)
            return
        self._held[name] = held = Held(os.dup(adopted.pidfd))
        if ended is not None:
            held.end(ended)
        self._list.append(adopted)

    def _on_listed(self, *, fds: list[int]) -> None:  # noqa: ARG002 - as above
        self._listed.set()

    def _lost(self, link: Link) -> None:
        """The launcher died: starts in flight fail, exits are read through the pidfds."""
        journal.error("launcher lost: its containers go on, the next start makes a new one", pid=link.pid)
        link.close()
        self._link = None
        self._listed.set()
        for pending in self._pending.values():
            pending.failure = SpawnFailed(
                step=LOST, op="spawn", path=None, errno=errno.EPIPE, hint="the launcher died: try again"
            )
            pending.answer()
        self._pending.clear()
        for held in self._held.values():
            if held.exit is None:
                self._nursery.start_soon(_watch_orphan, held)


async def _watch_orphan(held: Held) -> None:
    held.end(await wait_orphan(held.pidfd))


def _request(plan: Plan) -> bytes:
    packed = wire.pack(*plan.to_wire())
    promise = (plan.root.former, plan.root.successor)
    return wire.pack("spawn", plan.id, plan.cgroup, plan.stdin, plan.terminal, promise, packed)


def _join_request(
    plan: ExecPlan, note: bytes, container: int, streams: Sequence[int], lifeline: int | None
) -> tuple[bytes, tuple[int, ...]]:
    lifelines = () if lifeline is None else (lifeline,)
    packed = wire.pack(JOIN, *plan.to_wire())
    return wire.pack("exec", plan.id, note, bool(lifelines), packed), (container, *lifelines, *streams)


@asynccontextmanager
async def open_launcher(run_dir: Path) -> AsyncGenerator[Launcher]:
    """Connect to the launcher of `run_dir`, or start one; on leaving, hang up. Raises LauncherUnavailable."""
    with ExitStack() as stack:
        # After its tasks have ended: one that was just woken would still read from the socket.
        async with trio.open_nursery() as nursery:
            launcher = Launcher(run_dir, nursery)
            stack.callback(launcher.close)
            await launcher.connect()
            yield launcher
            nursery.cancel_scope.cancel()
