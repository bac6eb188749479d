"""One function per request: what each operation means. No sockets, no syscalls, no state of its own.

A function takes the parts it needs from `Context` and the request, and returns the answer's value; a stream's
function also takes the emitter for its events.
"""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from wherry_protocol import containers as c
from wherry_protocol import images as i
from wherry_protocol import system as s
from wherry_protocol.errors import BadRequest, InternalError
from wherryd.containers.attachment import Attachment
from wherryd.control import facts
from wherryd.logs.reader import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from wherry_protocol.call import Call, Stream
    from wherryd.containers.container import Container
    from wherryd.containers.manager import Manager
    from wherryd.control.facts import Facts
    from wherryd.control.session import Emitter
    from wherryd.logs.reader import Chunk


class Verbs:
    """Every operation, bound to one supervisor."""

    def __init__(self, manager: Manager, ground: Facts) -> None:
        self._manager = manager
        self._images = manager.services.images
        self._facts = ground

    async def answer(self, call: Call[Any]) -> Any:
        """Perform a request. Raises WherryError."""
        verb = _VERBS.get(type(call))
        if verb is None:
            raise InternalError(f"{call.op}: this supervisor has no such verb")
        return await verb(self, call)

    async def stream(self, call: Stream[Any], emitter: Emitter) -> Any:
        """Perform a stream's request. Raises WherryError."""
        verb = _STREAMS.get(type(call))
        if verb is None:
            raise InternalError(f"{call.op}: this supervisor has no such verb")
        return await verb(self, call, emitter)

    # -- system ---------------------------------------------------------------------------------------------

    async def ping(self, _: s.Ping) -> s.Pong:
        return s.Pong(pid=self._facts.pid)

    async def version(self, _: s.Version) -> s.VersionInfo:
        return facts.version_info()

    async def info(self, _: s.Info) -> s.SystemInfo:
        return facts.system_info(self._facts, self._manager)

    # -- containers -----------------------------------------------------------------------------------------

    async def create(self, call: c.Create) -> c.Created:
        return (await self._manager.create(call.spec)).identity()

    async def run(self, call: c.Run) -> c.Created:
        return (await self._manager.run(call.spec)).identity()

    async def dry_run(self, call: c.DryRun) -> str:
        return await self._manager.dry_run(call.spec)

    async def start(self, call: c.Start) -> None:
        await self._manager.start(call.ref)

    async def stop(self, call: c.Stop) -> c.ExitStatus:
        return await self._manager.stop(call.ref, call.timeout)

    async def kill(self, call: c.Kill) -> None:
        self._manager.kill(call.ref, call.signal)

    async def restart(self, call: c.Restart) -> None:
        await self._manager.restart(call.ref, call.timeout)

    async def pause(self, call: c.Pause) -> None:
        await self._manager.pause(call.ref)

    async def unpause(self, call: c.Unpause) -> None:
        self._manager.unpause(call.ref)

    async def wait(self, call: c.Wait) -> c.ExitStatus:
        return await self._manager.wait(call.ref)

    async def remove(self, call: c.Remove) -> None:
        await self._manager.remove(call.ref, force=call.force)

    async def rename(self, call: c.Rename) -> None:
        self._manager.rename(call.ref, call.name)

    async def inspect(self, call: c.Inspect) -> c.ContainerDetails:
        return self._manager.inspect(call.ref)

    async def list(self, call: c.List) -> tuple[c.ContainerSummary, ...]:
        return self._manager.list(call.filters, every=call.all)

    async def close_stdin(self, call: c.CloseStdin) -> None:
        self._manager.close_stdin(call.ref)

    async def run_attached(self, call: c.RunAttached, emitter: Emitter) -> c.ExitStatus:
        with Attachment() as attachment:
            container = await self._manager.run(call.spec, emitter.soon, attachment)
            return await self._follow(container, attachment, emitter)

    async def start_attached(self, call: c.StartAttached, emitter: Emitter) -> c.ExitStatus:
        with Attachment() as attachment:
            container = await self._manager.start(call.ref, attachment)
            return await self._follow(container, attachment, emitter)

    async def _follow(self, container: Container, attachment: Attachment, emitter: Emitter) -> c.ExitStatus:
        started = c.Started(id=container.id, name=container.name)
        if attachment.fds:
            await emitter.send(started, attachment.fds)
            attachment.close_fds()
        else:
            emitter.lazily(started)
        await _send_output(attachment.output(), emitter)
        await attachment.wait_ended()
        return self._manager.ending(container)

    async def logs(self, call: c.Logs, emitter: Emitter) -> None:
        container = self._manager.find(call.ref)
        chunks = read(
            container.log,
            streams=call.streams,
            tail=call.tail,
            since=_nanoseconds(call.since),
            until=_nanoseconds(call.until),
            follow=call.follow,
        )
        await _send_output(chunks, emitter)

    # -- images ---------------------------------------------------------------------------------------------

    async def images(self, _: i.Images) -> tuple[i.ImageSummary, ...]:
        return self._images.list()

    async def remove_image(self, call: i.RemoveImage) -> tuple[str, ...]:
        return await self._images.remove(call.ref, force=call.force, in_use=self._manager.user_of_image)

    async def import_image(self, call: i.ImportImage, emitter: Emitter) -> i.ImageSummary:
        return await self._images.import_archive(call.path, call.name, emitter.soon)


async def _send_output(chunks: AsyncGenerator[Chunk], emitter: Emitter) -> None:
    async with aclosing(chunks):
        async for chunk in chunks:
            await emitter.send(c.Output(stream=chunk.stream, time=chunk.time, data=chunk.data))


def _nanoseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not math.isfinite(seconds):
        raise BadRequest(f"time {seconds} is no number of seconds")
    # A float holds the present to a quarter of a microsecond: more digits would be noise.
    return round(seconds * 1e6) * 1000


_VERBS: dict[type[Any], Callable[[Verbs, Any], Awaitable[Any]]] = {
    s.Ping: Verbs.ping,
    s.Version: Verbs.version,
    s.Info: Verbs.info,
    c.Create: Verbs.create,
    c.Run: Verbs.run,
    c.DryRun: Verbs.dry_run,
    c.Start: Verbs.start,
    c.Stop: Verbs.stop,
    c.Kill: Verbs.kill,
    c.Restart: Verbs.restart,
    c.Pause: Verbs.pause,
    c.Unpause: Verbs.unpause,
    c.Wait: Verbs.wait,
    c.Remove: Verbs.remove,
    c.Rename: Verbs.rename,
    c.Inspect: Verbs.inspect,
    c.List: Verbs.list,
    c.CloseStdin: Verbs.close_stdin,
    i.Images: Verbs.images,
    i.RemoveImage: Verbs.remove_image,
}

_STREAMS: dict[type[Any], Callable[[Verbs, Any, Emitter], Awaitable[Any]]] = {
    c.RunAttached: Verbs.run_attached,
    c.StartAttached: Verbs.start_attached,
    c.Logs: Verbs.logs,
    i.ImportImage: Verbs.import_image,
}
