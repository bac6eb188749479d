"""Keeps execs from their request to their end.

What needs no waiting is done in the step in which the launcher's word arrives: each turn of the event loop on
the way would be felt. What its client does not wait for is done a moment later. An exec that lasts longer has
a task, in the containers' nursery, that sees to what takes its time: a start that hangs, a client that goes.
When the supervisor goes, a started exec goes on: the launcher holds it, and its lifeline, for the next one.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.container_state import ExitStatus
from wherry_protocol.errors import Conflict, InternalError, KernelFailure, WherryError
from wherryd import journal, no_memory
from wherryd.containers.start_error import start_error
from wherryd.kernel import failpoints
from wherryd.kernel.errors import KernelError
from wherryd.launcher.outcome import Exit, SpawnFailed
from wherryd.launcher.start import LauncherUnavailable
from wherryd.processes.caller import Caller
from wherryd.processes.descriptors import close_all, copies
from wherryd.processes.kin import kill_kin
from wherryd.processes.telling import tell_end, tell_life, tell_start
from wherryd.processes.unshown import show_nobody
from wherryd.processes.verdict import verdict
from wherryd.processes.young import Young
from wherryd.shortage import until_there_is_some
from wherryd.tasks import open_nursery, start_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherryd.containers.services import Services
    from wherryd.launcher.asked import Asked
    from wherryd.launcher.exec_plan import ExecPlan
    from wherryd.launcher.outcome import Ran, Spawned
    from wherryd.processes.known import Known
    from wherryd.processes.session import Session

START_TIMEOUT = 30.0
"""Seconds for entering the container; a file system in it may not answer."""

UNWATCHED = 0.05
"""Seconds in which most commands end: until then nobody looks whether their clients are still there."""

_SIGKILL = 9

_THEIR_FAULT = ("exec", "user", "cwd", "streams")
"""Steps whose failure has nothing to do with the container's end."""


class Keeper:
    """Keeps the execs of one supervisor, and writes down in `known` which there are."""

    def __init__(self, services: Services, nursery: trio.Nursery, known: Known) -> None:
        self._services = services
        self._nursery = nursery
        self._known = known
        self._over: list[str] = []
        self._young = Young(keep=self._start_keeping, let_go=self._let_go, catch_up=self._catch_up)
        start_soon(nursery, self._young.run)

    def ask(
        self, session: Session, plan: ExecPlan, container: int, streams: Sequence[int], lifeline: int | None
    ) -> None:
        """Ask the launcher for its process. The descriptors stay the caller's."""
        failpoints.hit("exec.join")
        note = session.note.pack()
        brief = lifeline is not None and not plan.terminal
        asked = self._services.launcher.ask_join(
            plan, note, container, streams, lifeline, name=session.id, brief=brief
        )
        os.sched_yield()  # the launcher was woken: on our processor it would wait for what is left to do here
        self._known.asked.add(session.id)
        if asked is None:
            fds = copies((container, *streams, *(() if lifeline is None else (lifeline,))))
            start_soon(self._nursery, self._join, session, plan, fds, lifeline is not None)
            return
        asked.then = partial(self._guarded, session, partial(self._answered, session, asked))
        self._young.add(session, asked)

    def adopt(self, session: Session, held: Spawned) -> None:
        """Go on with a process that the launcher held while there was no supervisor."""
        self._enter(session, held)
        self._await_exit(session)
        start_soon(self._nursery, self._keep, session, None)

    # -- the start -------------------------------------------------------------------------------------------

    def _answered(self, session: Session, asked: Asked) -> None:
        if asked.ran is not None:
            self._ran(session, asked.ran)
        elif asked.spawned is not None:
            self._begin(session, asked.spawned)
        elif asked.failure is not None:
            self._refuse(session, asked.failure)

    def _begin(self, session: Session, held: Spawned) -> None:
        failpoints.hit("exec.joined")
        self._enter(session, held)
        session.caller.started(session)
        tell_start(session, self._services)
        self._await_exit(session)

    def _ran(self, session: Session, ran: Ran) -> None:
        """Take the start and the end at once: its client first, the rest when there is time."""
        failpoints.hit("exec.joined")
        self._known.begun(session)
        session.run(ran)
        session.caller.started(session)
        status = ExitStatus(code=ran.exit.code, signal=ran.exit.signal)
        self._settle(session, status, told=ran.exit.told)
        failpoints.hit("exec.ended")
        self._over.append(session.id)
        tell = partial(tell_life, session, self._services, status)
        self._services.events.later(partial(self._guarded, session, tell))

    def _enter(self, session: Session, held: Spawned) -> None:
        self._known.begun(session)
        session.container.oom.suspects.add(session.begin(held))

    def _await_exit(self, session: Session) -> None:
        then = partial(self._exited, session)
        self._services.launcher.on_exit(
            session.id, lambda status: self._guarded(session, partial(then, status))
        )

    def _refuse(self, session: Session, failure: SpawnFailed) -> None:
        if failure.step in _THEIR_FAULT:
            self._fail(session, start_error(session.container.name, session.note.args[0], failure))
        else:
            explain = partial(self._explain, session, failure)
            start_soon(self._nursery, until_there_is_some, "an exec's end", explain)

    async def _explain(self, session: Session, failure: SpawnFailed) -> None:
        name = session.container.name
        if await session.container_end.came():
            self._fail(session, Conflict(f"container {name} ended before the command could start"))
        else:
            self._fail(session, start_error(name, session.note.args[0], failure))

    def _fail(self, session: Session, error: WherryError) -> None:
        self._known.forget(session.id)
        session.fail(error)

    async def _join(self, session: Session, plan: ExecPlan, fds: list[int], has_lifeline: bool) -> None:
        """Do as `ask`, with a launcher that has to be started first."""
        container, *streams = fds
        lifeline = streams.pop() if has_lifeline else None
        try:
            with trio.fail_after(START_TIMEOUT):
                held = await self._services.launcher.join(
                    plan, session.note.pack(), container, streams, lifeline, name=session.id
                )
        except SpawnFailed as failure:
            await self._explain(session, failure)
        except trio.TooSlowError:
            self._fail(session, _too_slow(session))
        except LauncherUnavailable as error:
            self._fail(session, InternalError(str(error)))
        else:
            self._guarded(session, partial(self._begin, session, held))
            await self._keep(session, None)
        finally:
            close_all(fds)

    # -- the tasks -------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Do what was put off for those that ran."""
        over, self._over = self._over, []
        for exec_id in over:
            self._services.launcher.release(exec_id)
        self._services.events.catch_up()

    def _start_keeping(self, session: Session, asked: Asked) -> None:
        start_soon(self._nursery, self._keep, session, asked)

    async def _keep(self, session: Session, asked: Asked | None) -> None:
        """See to what takes longer than a moment."""
        try:
            session.caller.lasts()
            await self._wait_begun(session, asked)
            with trio.move_on_after(UNWATCHED):
                await session.gone.wait()
            if not session.gone.is_set():
                await self._watch(session)
            if not session.over.is_set():
                await until_there_is_some("an exec's end", partial(self._judge, session))
        finally:
            self._catch_up()
            if not session.over.is_set():
                await self._let_go(session, asked)

    async def _wait_begun(self, session: Session, asked: Asked | None) -> None:
        with trio.move_on_after(START_TIMEOUT):
            await session.begun.wait()
        if not session.begun.is_set() and asked is not None:
            await self._services.launcher.call_off(asked)
            self._fail(session, _too_slow(session))

    async def _watch(self, session: Session) -> None:
        """Have an eye on its client and its terminal until it is gone."""
        async with open_nursery() as nursery:
            start_soon(nursery, self._wait_client, session)
            if session.tty is not None:
                start_soon(nursery, show_nobody, session, session.tty)
            await session.gone.wait()
            nursery.cancel_scope.cancel()

    async def _let_go(self, session: Session, asked: Asked | None) -> None:
        """Leave it to the next supervisor; what has not begun is called off."""
        session.caller = Caller()
        self._known.forget(session.id)
        session.close()
        session.over.set()
        if asked is not None and not session.begun.is_set():
            await self._services.launcher.call_off(asked)

    async def _wait_client(self, session: Session) -> None:
        """Kill the command, with all that it started, when its client is gone."""
        if session.lifeline is None:
            return
        await trio.lowlevel.wait_readable(session.lifeline)
        if session.detached:
            return
        session.killed = True
        session.log("exec killed: its client is gone")
        cgroup = str(self._services.cgroup_of(session.container.id))
        try:
            if not await until_there_is_some("an exec's kill", partial(_kill_kin, cgroup, session.pid)):
                journal.warning("an exec forks faster than it is killed", id=session.id)
        except KernelError as error:
            journal.error("exec not killed", id=session.id, error=error)

    # -- the end ---------------------------------------------------------------------------------------------

    def _exited(self, session: Session, status: Exit) -> None:
        session.gone.set()
        if session.over.is_set():
            return
        if status.code is None and status.signal is None:
            self._end(session, ExitStatus(error="nobody saw how it ended: the launcher was gone"))
        elif status.signal != _SIGKILL:
            self._end(session, ExitStatus(code=status.code, signal=status.signal), told=status.told)

    async def _judge(self, session: Session) -> None:
        """End it with what can be found out about the SIGKILL that ended it."""
        status = await verdict(session, self._services)
        self._guarded(session, partial(self._end, session, status))

    def _end(self, session: Session, status: ExitStatus, *, told: bool = False) -> None:
        if session.over.is_set():
            return
        try:
            self._settle(session, status, told=told)
        finally:
            session.close()
            failpoints.hit("exec.ended")
            self._services.launcher.release(session.id)
            tell_end(session, self._services, status)

    def _settle(self, session: Session, status: ExitStatus, *, told: bool) -> None:
        session.exit = status
        session.over.set()
        self._known.ended(session.id, status)
        session.caller.ended(status, told=told)

    def _guarded(self, session: Session, step: Callable[[], None]) -> None:
        """Take a step; a defect in it must end neither the launcher's task nor others' execs."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one exec's
            no_memory.ends_us(error)
            journal.defect("keeping an exec failed", error, id=session.id)
            self._give_up(session, error)

    def _give_up(self, session: Session, error: Exception) -> None:
        if not session.begun.is_set():
            self._fail(session, InternalError(f"wherryd failed to start it: {error!r}"))
        elif not session.over.is_set():
            self._end(session, ExitStatus(error=f"wherryd failed to watch it: {error!r}"))


async def _kill_kin(cgroup: str, pid: int) -> bool:
    return await trio.to_thread.run_sync(kill_kin, cgroup, pid)


def _too_slow(session: Session) -> KernelFailure:
    return KernelFailure(
        f"container {session.container.name}: it could not be entered within {START_TIMEOUT:.0f} s",
        hint="does a file system in it not answer?",
    )
