"""Every exec of this supervisor, for requests: begun beside a container's first process, and found again."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, KernelFailure
from wherryd import journal
from wherryd.containers.config import signal_number
from wherryd.containers.names import new_id
from wherryd.kernel.errors import KernelError
from wherryd.kernel.pidfd import pidfd_send_signal
from wherryd.launcher.exec_plan import Sandbox
from wherryd.processes.caller import Caller
from wherryd.processes.descriptors import close_all
from wherryd.processes.keeper import Keeper
from wherryd.processes.known import Known
from wherryd.processes.session import Note, Session
from wherryd.processes.spec import check_spec, plan_exec, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.processes import ExecSpec, ExecSummary
    from wherryd.containers.config import Config
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.exec_plan import ExecPlan
    from wherryd.launcher.handle import Adopted

_SIGKILL = 9
_HEX = "0123456789abcdef"
_ID_LENGTH = 64


class Execs:
    """The execs of one supervisor."""

    def __init__(self, services: Services, nursery: trio.Nursery) -> None:
        self._services = services
        self._known = Known()
        self._keeper = Keeper(services, nursery, self._known)
        self._last: tuple[str, Config, Sandbox] | None = None
        self._planned: tuple[Sandbox, ExecSpec, ExecPlan] | None = None

    def begin(
        self,
        reference: str,
        spec: ExecSpec,
        caller: Caller,
        lifeline: int | None,
        streams: Sequence[int],
        probe: bool = False,
        exec_id: str = "",
    ) -> Session:
        """Begin to start a command, in this very step; `caller` is told the rest.

        It ends with its client, if there is a lifeline. The descriptors are ours from here on.
        Raises NotFound, Conflict, BadRequest; the caller is told of CommandNotFound, CommandNotExecutable and
        KernelFailure.
        """
        try:
            self._check_id(exec_id)
            container = self._services.registry.find(reference)
            run = running(container)
            plan = self._plan(container, spec)
            if len(streams) != len(spec.streams):
                raise BadRequest(f"exec: {len(streams)} streams came along, not {len(spec.streams)}")
            session = Session(
                exec_id or new_id(), container, Note.new(container, spec.args, probe=probe), caller
            )
            self._keeper.ask(session, plan, run.pidfd, streams, lifeline)
        finally:
            close_all(streams if lifeline is None else (lifeline, *streams))
        return session

    async def start(
        self, reference: str, spec: ExecSpec, lifeline: int, streams: Sequence[int], probe: bool = False
    ) -> Session:
        """Start a command that ends with its client. Raises as `begin`, and what its caller would be told."""
        return await _begun(self.begin(reference, spec, Caller(), lifeline, streams, probe))

    async def start_detached(self, reference: str, spec: ExecSpec) -> Session:
        """Start a command that nobody waits for. Raises as `start`."""
        if spec.streams:
            raise BadRequest("exec: no stream rides along with what is detached")
        return await _begun(self.begin(reference, spec, Caller(), None, ()))

    def expect(self) -> None:
        """Have the launcher awake for an exec that is about to be asked for; not while it has others."""
        if not self._known.asked:
            self._services.launcher.expect()

    def adopt(self) -> None:
        """Go on with what the launcher held while there was no supervisor."""
        for held in self._services.launcher.adopted:
            if held.note is not None:
                self._adopt(held, Note.unpack(held.note))

    def list(self, reference: str | None) -> tuple[ExecSummary, ...]:
        """Return what runs, in a container or in all."""
        container = None if reference is None else self._services.registry.find(reference)
        known = (each for each in self._known.running.values() if container in (None, each.container))
        return tuple(each.summary() for each in known if not each.probe)

    async def wait(self, exec_id: str) -> ExitStatus:
        """Return how it ended, when it has."""
        session = self._known.running.get(exec_id)
        if session is not None:
            await session.over.wait()
        return self._known.exit_of(exec_id)

    async def wait_over(self) -> None:
        """Wait until the execs of containers that have ended are let go: the launcher would hold them."""
        for session in tuple(self._known.running.values()):
            if not session.container.alive:
                await session.over.wait()

    def kill(self, exec_id: str, signal: str) -> None:
        """Send a signal to the process."""
        number = signal_number(signal)
        session = self._known.find(exec_id)
        session.killed = session.killed or number == _SIGKILL
        try:
            pidfd_send_signal(session.pidfd, number)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise KernelFailure(str(error), errno=error.errno) from error
            journal.debug("signal came after the end", id=exec_id, signal=number)

    def leave(self, exec_id: str) -> None:
        """Let it go on when its client goes."""
        self._known.find(exec_id).leave()
        self._services.launcher.drop_lifeline(exec_id)

    def _check_id(self, exec_id: str) -> None:
        if exec_id and (len(exec_id) != _ID_LENGTH or exec_id.strip(_HEX)):
            raise BadRequest(f"exec: {exec_id[:80]!r} is no id", hint="64 hex digits")
        if exec_id in self._known or self._services.registry.get(exec_id):
            raise Conflict(f"exec: the id {exec_id} is taken")

    def _plan(self, container: Container, spec: ExecSpec) -> ExecPlan:
        """Return the plan of a request, the last one's if that asked for the same of the same container."""
        sandbox = self._sandbox(container)
        last = self._planned
        if last is None or last[0] is not sandbox or last[1] is not spec:
            check_spec(spec)
            last = self._planned = sandbox, spec, plan_exec(container, sandbox, spec)
        return last[2]

    def _sandbox(self, container: Container) -> Sandbox:
        """Return what a container's processes have in common; who executes one in it executes more."""
        last = self._last
        if last is None or last[0] != container.id or last[1] is not container.config:
            plan = self._services.plan_of(container.id, container.config)
            sandbox = Sandbox.of(plan, memory_bounded=container.config.spec.limits.memory is not None)
            last = self._last = container.id, container.config, sandbox
        return last[2]

    def _adopt(self, held: Adopted, note: Note) -> None:
        container = self._services.registry.get(note.container_id)
        if container is None:
            # Its end is the kernel's: the container's first process is gone.
            held.close()
            self._services.launcher.release(held.id)
            return
        self._keeper.adopt(Session(held.id, container, note, Caller()), held)


async def _begun(session: Session) -> Session:
    await session.begun.wait()
    failure, session.failure = session.failure, None  # what it comes through leads back to the session
    if failure is not None:
        try:
            raise failure
        finally:
            del failure
    return session
