"""What requests about containers mean: from create to remove, and logs."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry_protocol.containers import (
    CloseStdin,
    Create,
    DryRun,
    Inspect,
    Kill,
    List,
    Logs,
    Output,
    Pause,
    Remove,
    Rename,
    Restart,
    Run,
    RunAttached,
    Start,
    StartAttached,
    Started,
    Stop,
    Unpause,
    Wait,
)
from wherry_protocol.errors import BadRequest
from wherryd.containers.attachment import Attachment
from wherryd.containers.manager import told
from wherryd.containers.telling import tell
from wherryd.control.times import nanoseconds
from wherryd.logs.reader import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wherry_protocol.container_state import ContainerDetails, ContainerSummary, ExitStatus
    from wherry_protocol.containers import Created
    from wherryd.containers.container import Container
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter
    from wherryd.logs.reader import Chunk


async def create(context: Context, call: Create) -> Created:
    return (await context.manager.create(call.spec)).identity()


async def run(context: Context, call: Run) -> Created:
    return (await context.manager.run(call.spec)).identity()


async def dry_run(context: Context, call: DryRun) -> str:
    return await context.manager.dry_run(call.spec)


async def start(context: Context, call: Start) -> None:
    await context.manager.start(call.ref)


async def stop(context: Context, call: Stop) -> ExitStatus:
    return await context.manager.stop(call.ref, call.timeout)


async def kill(context: Context, call: Kill) -> None:
    context.manager.kill(call.ref, call.signal)


async def restart(context: Context, call: Restart) -> None:
    await context.manager.restart(call.ref, call.timeout)


async def pause(context: Context, call: Pause) -> None:
    await context.manager.pause(call.ref)


async def unpause(context: Context, call: Unpause) -> None:
    context.manager.unpause(call.ref)


async def wait(context: Context, call: Wait) -> ExitStatus:
    return await context.manager.wait(call.ref)


async def remove(context: Context, call: Remove) -> None:
    await context.manager.remove(call.ref, force=call.force, volumes=call.volumes)


async def rename(context: Context, call: Rename) -> None:
    context.manager.rename(call.ref, call.name)


async def inspect(context: Context, call: Inspect) -> ContainerDetails:
    return context.manager.inspect(call.ref)


async def list_all(context: Context, call: List) -> tuple[ContainerSummary, ...]:
    return context.manager.list(call.filters, every=call.all)


async def close_stdin(context: Context, call: CloseStdin) -> None:
    context.manager.close_stdin(call.ref)


async def run_attached(context: Context, call: RunAttached, emitter: Emitter) -> ExitStatus:
    with Attachment() as attachment:
        container = await context.manager.run(call.spec, emitter.soon, attachment)
        return await follow(context, container, attachment, emitter)


async def start_attached(context: Context, call: StartAttached, emitter: Emitter) -> ExitStatus:
    with Attachment() as attachment:
        container = await context.manager.start(call.ref, attachment)
        return await follow(context, container, attachment, emitter)


async def follow(
    context: Context, container: Container, attachment: Attachment, emitter: Emitter
) -> ExitStatus:
    """Send a run's start and output to its end, and return that."""
    try:
        status = await _send_all(container, attachment, emitter)
    finally:
        if not attachment.ended:
            tell(container, context.manager.services, "detach")
    return told(status, container)


async def _send_all(container: Container, attachment: Attachment, emitter: Emitter) -> ExitStatus | None:
    started = Started(id=container.id, name=container.name, place=attachment.place)
    if attachment.fds:
        await emitter.send(started, attachment.fds)
        attachment.close_fds()
    else:
        emitter.lazily(started)
    await send_output(attachment.output(), emitter)
    return await attachment.wait_ended()


async def logs(context: Context, call: Logs, emitter: Emitter) -> None:
    if call.after is not None and call.after < 0:
        raise BadRequest(f"logs: {call.after} is no place in a log")
    container = context.manager.find(call.ref)
    chunks = read(
        container.log,
        streams=call.streams,
        tail=call.tail,
        since=nanoseconds(call.since),
        until=nanoseconds(call.until),
        follow=call.follow,
        after=call.after,
        anchored=call.anchored,
    )
    await send_output(chunks, emitter)


async def send_output(chunks: AsyncGenerator[Chunk], emitter: Emitter) -> None:
    """Send what is read as it comes."""
    async with aclosing(chunks):
        async for chunk in chunks:
            await emitter.send(
                Output(
                    stream=chunk.stream, time=chunk.time, data=chunk.data, place=chunk.place, gap=chunk.gap
                )
            )


ANSWERS: Answers = {
    Create: create,
    Run: run,
    DryRun: dry_run,
    Start: start,
    Stop: stop,
    Kill: kill,
    Restart: restart,
    Pause: pause,
    Unpause: unpause,
    Wait: wait,
    Remove: remove,
    Rename: rename,
    Inspect: inspect,
    List: list_all,
    CloseStdin: close_stdin,
}

STREAMS: Streams = {
    RunAttached: run_attached,
    StartAttached: start_attached,
    Logs: logs,
}
