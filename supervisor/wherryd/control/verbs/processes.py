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
from wherryd.processes.session import Handover
from wherryd.processes.spec import running
from wherryd.processes.top import top

if TYPE_CHECKING:
    from wherry_protocol.containers import ExitStatus
    from wherry_protocol.processes import ExecStarted, ExecSummary, Process
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.session import Emitter


async def run_exec(context: Context, call: Exec, emitter: Emitter) -> ExitStatus:
    if not emitter.fds:
        raise BadRequest("exec: no lifeline rode along", hint="exec_detached needs none")
    lifeline, *streams = emitter.fds
    emitter.fds.clear()
    with Handover() as handover:
        session = await context.execs.start(
            call.ref, call.spec, handover, lifeline, streams, exec_id=call.exec_id
        )
        if handover.fds:
            await emitter.send(session.started(), handover.fds)
        else:
            emitter.lazily(session.started())
    return await context.execs.wait(session.id)


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
    Exec: run_exec,
    ExecWait: exec_wait,
}
