"""What can be asked of a container's files: export, changes, copies in and out. The entrance to this package.

Owns the order: wait for a start under way, hold the container still if asked, have a worker see its files,
do the work, let go in reverse. Whoever asks may go at any moment: the work ends and nothing stays frozen.
"""

from __future__ import annotations

import errno
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from wherry_protocol.errors import Conflict, ErrorReply, InternalError, from_reply
from wherryd.containers.files import ETC_FILES
from wherryd.containers.freezing import standing_still
from wherryd.containers.lifecycle import Phase
from wherryd.containers.plan import MOUNTS
from wherryd.files import viewing
from wherryd.files.job import Compare, CopyIn, Pack, encode
from wherryd.files.records import Changes, Done, decode
from wherryd.images.records import Failed, Read
from wherryd.workers import records, worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from wherry_protocol.errors import WherryError
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.files.job import CopyOut, Task, View
    from wherryd.files.records import Record

END_TIMEOUT = 5.0
"""Seconds for the record of an end that a worker met with: after it the files are read as an ended one's."""

T = TypeVar("T")

OURS = (*(mount.destination for mount in MOUNTS), *(f"/etc/{name}" for name in ETC_FILES))
"""Where every start makes a folder or an empty file to mount on: no change of the container's."""


async def export(
    container: Container,
    services: Services,
    data: int,
    on_bytes: Callable[[int], None],
    *,
    compression: str | None,
    pause: bool,
    layer: bool = False,
) -> Done:
    """Write the root into the descriptor `data` as a tar archive; with `layer` only what was changed.

    `on_bytes` is told how many bytes have been packed. Raises WherryError.
    """
    task = Pack(compression, layer, OURS if layer else ())

    async def attempt() -> Done:
        async with _still(container, services, pause=pause):
            with viewing.root(container, services, compare=layer) as view:
                return await _done(container, view, task, data, on_bytes)

    return await _also_when_it_ends(container, attempt)


async def changes(
    container: Container, services: Services, on_changes: Callable[[Changes], Awaitable[None]]
) -> None:
    """Pass on what the container changed in its root, some paths at a time. Raises WherryError."""

    async def attempt() -> None:
        with viewing.root(container, services, compare=True) as view:
            async with aclosing(_told(container, view, Compare(OURS), None)) as told:
                async for record in told:
                    if isinstance(record, Changes):
                        await on_changes(record)

    await _also_when_it_ends(container, attempt)


async def copy(
    container: Container,
    services: Services,
    task: CopyIn | CopyOut,
    data: int,
    on_bytes: Callable[[int], None],
) -> Done:
    """Copy files between the container and the descriptor `data`. Raises WherryError."""

    async def attempt() -> Done:
        with viewing.everything(container, services, writable=isinstance(task, CopyIn)) as view:
            return await _done(container, view, task, data, on_bytes)

    return await _also_when_it_ends(container, attempt)


async def _also_when_it_ends(container: Container, attempt: Callable[[], Awaitable[T]]) -> T:
    """Do something with the container's files, and if it was just ending then with an ended one's."""
    await viewing.settled(container)
    try:
        return await attempt()
    except viewing.JustEnded:
        with trio.move_on_after(END_TIMEOUT):
            await container.ended.wait()
    await viewing.settled(container)
    return await attempt()


@asynccontextmanager
async def _still(container: Container, services: Services, *, pause: bool) -> AsyncGenerator[None]:
    if pause and container.alive:
        async with standing_still(container, services):
            yield
    else:
        yield


async def _done(
    container: Container, view: View, task: Task, data: int, on_bytes: Callable[[int], None]
) -> Done:
    async with aclosing(_told(container, view, task, data)) as told:
        async for record in told:
            if isinstance(record, Read):
                on_bytes(record.total)
            elif isinstance(record, Done):
                return record
    raise InternalError("the process for files told no end")


async def _told(container: Container, view: View, task: Task, data: int | None) -> AsyncGenerator[Record]:
    """Yield what a worker tells, up to its last record. Raises what it failed with."""
    # Not as standard input: an interpreter does not start with a directory there.
    fds = tuple(fd for fd in (data, view.pidfd) if fd is not None)
    async with (
        worker("wherryd.files.worker", encode(view, task, data), data=None, fds=fds) as process,
        aclosing(records(process, decode, "files")) as told,
    ):
        async for record in told:
            if isinstance(record, Failed):
                raise _error(container, record)
            yield record
            if isinstance(record, Done):
                return


def _error(container: Container, failed: Failed) -> WherryError:
    if container.phase is Phase.REMOVING:
        return Conflict(f"container {container.name} was removed meanwhile")
    if failed.errno == errno.ESRCH:
        return viewing.JustEnded(f"container {container.name} has just ended: try again")
    if failed.kind == "internal":
        return InternalError(f"the process for files failed: {failed.message}")
    return from_reply(
        ErrorReply(
            code=failed.kind,
            message=f"container {container.name}: {failed.message}",
            hint=failed.hint,
            errno=failed.errno,
        )
    )
