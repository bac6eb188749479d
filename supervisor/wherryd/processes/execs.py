"""Every exec of this supervisor: started beside a container's first process, found again, ended.

One task a session, in the containers' nursery, owns it from its start to its exit. When the supervisor goes,
the session goes on: the launcher holds it, and the client's lifeline, for the next one.
"""

from __future__ import annotations

import errno
import os
import re
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.containers import ExitStatus
from wherry_protocol.errors import BadRequest, Conflict, KernelFailure, NotFound
from wherryd import journal
from wherryd.containers.config import signal_number
from wherryd.containers.names import new_id
from wherryd.containers.oom import last_kills
from wherryd.containers.start_error import start_error
from wherryd.containers.telling import tell
from wherryd.kernel import failpoints
from wherryd.kernel.errors import KernelError
from wherryd.kernel.pidfd import pidfd_send_signal
from wherryd.launcher.handle import SpawnFailed
from wherryd.processes.container_end import ContainerEnd
from wherryd.processes.kin import kill_kin
from wherryd.processes.session import Note, Session
from wherryd.processes.spec import check_spec, plan_exec, running
from wherryd.processes.unshown import show_nobody
from wherryd.tasks import detached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry_protocol.processes import ExecSpec, ExecSummary
    from wherryd.containers.config import Config
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Adopted, Exit
    from wherryd.launcher.plan import Plan
    from wherryd.processes.session import Handover

START_TIMEOUT = 30.0
"""Seconds for entering the container; a file system in it may not answer."""

REMEMBERED = 512
"""Exits that are kept for who asks late, as clients do whose supervisor was restarted."""

UNWATCHED = 0.05
"""Seconds in which most commands end: until then nobody looks whether their clients are still there."""

_SIGKILL = 9
_ID = re.compile(r"[0-9a-f]{64}")

_THEIR_FAULT = ("exec", "user", "cwd", "streams")
"""Steps whose failure has nothing to do with the container's end."""


class Execs:
    """The execs of one supervisor."""

    def __init__(self, services: Services, nursery: trio.Nursery) -> None:
        self._services = services
        self._nursery = nursery
        self._sessions: dict[str, Session] = {}
        self._exits: OrderedDict[str, ExitStatus] = OrderedDict()
        self._last: tuple[Config, Plan] | None = None

    async def start(
        self,
        reference: str,
        spec: ExecSpec,
        handover: Handover,
        lifeline: int,
        streams: Sequence[int],
        probe: bool = False,
        exec_id: str = "",
    ) -> Session:
        """Start a command that ends with its client. The descriptors are ours from here on.

        Raises NotFound, Conflict, BadRequest, CommandNotFound, CommandNotExecutable, KernelFailure.
        """
        begin = partial(self._begin, reference, spec, handover, lifeline, streams, probe, exec_id)
        return await detached(self._nursery, begin)

    async def start_detached(self, reference: str, spec: ExecSpec) -> Session:
        """Start a command that nobody waits for. Raises as `start`."""
        if spec.streams:
            raise BadRequest("exec: no stream rides along with what is detached")
        return await detached(self._nursery, partial(self._begin, reference, spec, None, None, (), False, ""))

    def adopt(self) -> None:
        """Go on with what the launcher held while there was no supervisor."""
        for held in self._services.launcher.adopted:
            if held.note is not None:
                self._adopt(held, Note.unpack(held.note))

    def list(self, reference: str | None) -> tuple[ExecSummary, ...]:
        """Return what runs, in a container or in all."""
        container = None if reference is None else self._services.registry.find(reference)
        known = (each for each in self._sessions.values() if container in (None, each.container))
        return tuple(each.summary() for each in known if not each.probe)

    async def wait(self, exec_id: str) -> ExitStatus:
        """Return how it ended, when it has."""
        session = self._sessions.get(exec_id)
        if session is not None:
            await session.ended.wait()
        status = self._exits.get(exec_id)
        if status is None:
            raise NotFound(f"no exec {exec_id[:64]!r}", hint="only the last few hundred ends are remembered")
        return status

    async def wait_over(self) -> None:
        """Wait until the execs of containers that have ended are let go: the launcher would hold them."""
        for session in tuple(self._sessions.values()):
            if not session.container.alive:
                await session.ended.wait()

    def kill(self, exec_id: str, signal: str) -> None:
        """Send a signal to the process."""
        number = signal_number(signal)
        session = self._find(exec_id)
        session.killed = session.killed or number == _SIGKILL
        try:
            pidfd_send_signal(session.pidfd, number)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise KernelFailure(str(error), errno=error.errno) from error
            journal.debug("signal came after the end", id=exec_id, signal=number)

    def leave(self, exec_id: str) -> None:
        """Let it go on when its client goes."""
        self._find(exec_id).leave()
        self._services.launcher.drop_lifeline(exec_id)

    def _find(self, exec_id: str) -> Session:
        session = self._sessions.get(exec_id)
        if session is None:
            raise NotFound(f"no exec {exec_id[:64]!r} runs")
        return session

    # -- the start, in the containers' nursery ---------------------------------------------------------------

    async def _begin(
        self,
        reference: str,
        spec: ExecSpec,
        handover: Handover | None,
        lifeline: int | None,
        streams: Sequence[int],
        probe: bool,
        exec_id: str,
    ) -> Session:
        try:
            check_spec(spec)
            self._check_id(exec_id)
            container = self._services.registry.find(reference)
            session = await self._join(container, spec, lifeline, streams, probe, exec_id or new_id())
        finally:
            for fd in (*streams, *(() if lifeline is None else (lifeline,))):
                os.close(fd)
        if handover is not None:
            handover.open(session.tty)
        for action in ("exec_create", "exec_start"):
            self._tell(session, f"{action}: {' '.join(spec.args)}", {})
        self._own(session)
        return session

    def _check_id(self, exec_id: str) -> None:
        if exec_id and _ID.fullmatch(exec_id) is None:
            raise BadRequest(f"exec: {exec_id[:80]!r} is no id", hint="64 hex digits")
        if exec_id in self._sessions or exec_id in self._exits or self._services.registry.get(exec_id):
            raise Conflict(f"exec: the id {exec_id} is taken")

    async def _join(
        self,
        container: Container,
        spec: ExecSpec,
        lifeline: int | None,
        streams: Sequence[int],
        probe: bool,
        exec_id: str,
    ) -> Session:
        run, end = running(container), ContainerEnd(container)
        if len(streams) != len(spec.streams):
            raise BadRequest(f"exec: {len(streams)} streams came along, not {len(spec.streams)}")
        plan = plan_exec(exec_id, container, self._sandbox(container), spec)
        note = Note.new(container, spec.args, probe=probe)
        try:
            failpoints.hit("exec.join")
            with trio.fail_after(START_TIMEOUT):
                held = await self._services.launcher.join(plan, note.pack(), run.pidfd, streams, lifeline)
        except SpawnFailed as error:
            if error.step not in _THEIR_FAULT and await end.came():
                raise Conflict(f"container {container.name} ended before the command could start") from error
            raise start_error(container.name, spec.args[0], error) from error
        except trio.TooSlowError as error:
            raise KernelFailure(
                f"container {container.name}: it could not be entered within {START_TIMEOUT:.0f} s",
                hint="does a file system in it not answer?",
            ) from error
        failpoints.hit("exec.joined")
        return Session(container, note, held)

    def _sandbox(self, container: Container) -> Plan:
        """Return the plan of a container; who executes one command in it executes more."""
        if self._last is None or self._last[0] is not container.config or self._last[1].id != container.id:
            plan = self._services.plan_of(container.id, container.config)
            self._last = container.config, plan
        return self._last[1]

    def _adopt(self, held: Adopted, note: Note) -> None:
        container = self._services.registry.get(note.container_id)
        if container is None:
            # Its end is the kernel's: the container's first process is gone.
            held.close()
            self._services.launcher.release(held.id)
            return
        self._own(Session(container, note, held))

    # -- the life --------------------------------------------------------------------------------------------

    def _own(self, session: Session) -> None:
        self._sessions[session.id] = session
        session.container.oom.suspects.add(session.suspect)
        session.log("exec started", pid=session.pid)
        self._nursery.start_soon(self._watch, session)

    async def _watch(self, session: Session) -> None:
        """Own a session to its end."""
        try:
            session.exit = await self._end(session)
        except Exception as error:  # noqa: BLE001 - a defect in one watch must not end the others
            journal.defect("watching an exec failed", error, id=session.id)
            session.exit = ExitStatus(error=f"wherryd failed to watch it: {error!r}")
        finally:
            session.container.oom.suspects.discard(session.suspect)
            session.close()
            del self._sessions[session.id]
        self._remember(session.id, session.exit)
        session.ended.set()
        failpoints.hit("exec.ended")
        self._services.launcher.release(session.id)
        code = session.exit.exit_code
        facts = {"exitCode": "unknown" if code is None else str(code)}
        if session.exit.oom_killed:
            facts["oomKilled"] = "true"
        self._tell(session, "exec_die", facts)
        session.log("exec ended", **facts)

    def _tell(self, session: Session, action: str, facts: Mapping[str, str]) -> None:
        if not session.probe:
            tell(session.container, self._services, action, {"execID": session.id, **facts})

    def _remember(self, exec_id: str, status: ExitStatus) -> None:
        self._exits[exec_id] = status
        if len(self._exits) > REMEMBERED:
            self._exits.popitem(last=False)

    async def _end(self, session: Session) -> ExitStatus:
        end, status = ContainerEnd(session.container), None
        with trio.move_on_after(UNWATCHED):
            status = await self._services.launcher.wait_exit(session.id)
        if status is None:
            status = await self._watched_end(session)
        if status.code is None and status.signal is None:
            return ExitStatus(error="nobody saw how it ended: the launcher was gone")
        if status.signal == _SIGKILL and not session.killed and await end.came():
            return ExitStatus(signal=_SIGKILL, error=f"container {session.container.name} ended")
        oom_killed = self._was_oom(session) if status.signal == _SIGKILL else None
        return ExitStatus(code=status.code, signal=status.signal, oom_killed=oom_killed)

    def _was_oom(self, session: Session) -> bool | None:
        """Say whether the kernel killed it for want of memory, by what is said in oom_verdict.py."""
        kills = last_kills(self._services.group_of(session.container.id))
        if kills is None:
            return None
        if session.killed and not session.suspect.dying:
            return False
        return session.container.oom.blame(kills, dying=session.suspect.dying)

    async def _watched_end(self, session: Session) -> Exit:
        """Wait for the exit with an eye on its client and its terminal."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_client, session)
            if session.tty is not None:
                nursery.start_soon(show_nobody, session, session.tty)
            status = await self._services.launcher.wait_exit(session.id)
            nursery.cancel_scope.cancel()
        return status

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
            if not await trio.to_thread.run_sync(kill_kin, cgroup, session.pid):
                journal.warning("an exec forks faster than it is killed", id=session.id)
        except KernelError as error:
            journal.error("exec not killed", id=session.id, error=error)
