"""What requests about processes of running containers mean: exec, top, attach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.processes import (
    Attach,
    Exec,
    ExecDetach,
    ExecDetached,
    ExecKill,
    ExecList,
    ExecWait,
    Top,
)
from wherryd.containers.attachment import Attachment
from wherryd.containers.telling import tell
from wherryd.control.verbs.containers import follow
from wherryd.processes.caller import Caller
from wherryd.processes.spec import running
from wherryd.processes.top import top

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherry_protocol.errors import WherryError
    from wherry_protocol.processes import ExecStarted, ExecSummary, Process
    from wherryd.control.context import Answers, AtOnce, Context, Streams
    from wherryd.control.emitter import Emitter
    from wherryd.control.reply import Reply
    from wherryd.processes.session import Session


class _Client(Caller):
    """A client that waits for its command."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lasts = False

    def started(self, session: Session) -> None:
        if session.tty is not None:
            self._reply.event(session.started(), (session.tty,))
        elif self._lasts:
            self._reply.event(session.started())
        else:
            self._reply.hold(session.started())

    def lasts(self) -> None:
        self._lasts = True
        self._reply.flush()

    def failed(self, error: WherryError) -> None:
        self._reply.fail(error)

    def ended(self, status: ExitStatus, *, told: bool) -> None:
        if told:
            self._reply.settle()
        else:
            self._reply.answer(status)


def run_exec(context: Context, call: Exec, reply: Reply) -> None:
    if not reply.fds:
        raise BadRequest("exec: no lifeline rode along", hint="exec_detached needs none")
    lifeline, *streams = reply.fds
    reply.fds.clear()
    context.execs.begin(call.ref, call.spec, _Client(reply), lifeline, streams, exec_id=call.exec_id)


async def exec_detached(context: Context, call: ExecDetached) -> ExecStarted:
    return (await context.execs.start_detached(call.ref, call.spec)).started()


async def exec_list(context: Context, call: ExecList) -> tuple[ExecSummary, ...]:
    return context.execs.list(call.ref)


async def exec_wait(context: Context, call: ExecWait, _: Emitter) -> ExitStatus:
    return await context.execs.wait(call.exec_id)


async def exec_kill(context: Context, call: ExecKill) -> None:
    context.execs.kill(call.exec_id, call.signal)


async def exec_detach(context: Context, call: ExecDetach) -> None:
    context.execs.leave(call.exec_id)


async def show_top(context: Context, call: Top) -> tuple[Process, ...]:
    manager = context.manager
    return await top(manager.find(call.ref), manager.services)


async def attach(context: Context, call: Attach, emitter: Emitter) -> ExitStatus:
    manager = context.manager
    container = manager.find(call.ref)
    with Attachment() as attachment:
        attachment.open(container, running(container), from_now=not call.logs)
        tell(container, manager.services, "attach")
        return await follow(context, container, attachment, emitter)


ANSWERS: Answers = {
    Top: show_top,
    ExecDetached: exec_detached,
    ExecList: exec_list,
    ExecKill: exec_kill,
    ExecDetach: exec_detach,
}

STREAMS: Streams = {
    Attach: attach,
    ExecWait: exec_wait,
}

AT_ONCE: AtOnce = {Exec: run_exec}
