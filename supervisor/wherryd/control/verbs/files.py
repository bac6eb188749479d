"""What requests about the files of containers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.files import Change, Changes, CommitImage, CopyIn, CopyOut, Diff, Export, Packed
from wherry_protocol.system import Progress
from wherryd.containers.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.call import Stream
    from wherry_protocol.images import ImageSummary
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter
    from wherryd.files import job, records
    from wherryd.files.records import Done


async def export(context: Context, call: Export, emitter: Emitter) -> Packed:
    from wherryd.files import doors

    container = context.manager.find(call.ref)
    done = await doors.export(
        container,
        context.manager.services,
        _descriptor(call, emitter),
        _progress(emitter, "packing", _size(context, call.ref)),
        compression=None if call.compression == "none" else call.compression,
        pause=call.pause,
    )
    tell(container, context.manager.services, "export")
    return _packed(done)


async def commit_image(context: Context, call: CommitImage, emitter: Emitter) -> ImageSummary:
    from wherryd.files.committing import commit

    container = context.manager.find(call.ref)
    image = await commit(container, context.manager.services, call, _progress(emitter, "committing"))
    facts = {"imageID": image.digest, "imageRef": call.name or ""}
    tell(container, context.manager.services, "commit", facts)
    return image


async def diff(context: Context, call: Diff, emitter: Emitter) -> None:
    from wherryd.files import doors

    async def send(found: records.Changes) -> None:
        entries = tuple(Change(kind=kind, path=path) for kind, path in found.entries)
        await emitter.send(Changes(entries=entries))

    await doors.changes(context.manager.find(call.ref), context.manager.services, send)


async def copy_out(context: Context, call: CopyOut, emitter: Emitter) -> Packed:
    from wherryd.files import job

    task = job.CopyOut(
        path=call.path,
        follow=call.follow,
        kind=call.target,
        name=_name(call.name),
        told=f"{call.told} on the host",
        slash=call.slash,
        owner=_owner(call.owner),
    )
    return await _copy(context, call, emitter, task)


async def copy_in(context: Context, call: CopyIn, emitter: Emitter) -> Packed:
    from wherryd.files import job

    task = job.CopyIn(call.path, _name(call.name), call.contents, call.tar, _owner(call.owner))
    return await _copy(context, call, emitter, task)


async def _copy(
    context: Context, call: CopyIn | CopyOut, emitter: Emitter, task: job.CopyIn | job.CopyOut
) -> Packed:
    from wherryd.files import doors

    container, data = context.manager.find(call.ref), _descriptor(call, emitter)
    progress = _progress(emitter, "copying")
    return _packed(await doors.copy(container, context.manager.services, task, data, progress))


def _descriptor(call: Stream[Packed], emitter: Emitter) -> int:
    if not emitter.fds:
        raise BadRequest(f"{call.op}: no descriptor came along for the data")
    return emitter.fds[0]


def _size(context: Context, ref: str) -> int:
    """Return the bytes that a container's image takes, 0 if that is not known: what it has added is not."""
    digest = context.manager.find(ref).config.image.digest
    return next((image.size for image in context.images.list() if image.digest == digest), 0)


def _progress(emitter: Emitter, phase: str, total: int = 0) -> Callable[[int], None]:
    return lambda done: emitter.soon(Progress(phase=phase, done=min(done, total or done), total=total))


def _packed(done: Done) -> Packed:
    return Packed(
        entries=done.entries, size=done.size, left_out=done.left_out, left_out_count=done.left_out_count
    )


def _name(name: str) -> str:
    if "/" in name or "\0" in name or name in (".", ".."):
        raise BadRequest(f"name {name!r:.100}: it is to be one name, not a path")
    return name


def _owner(owner: tuple[int, int] | None) -> tuple[int, int] | None:
    if owner is not None and not all(0 <= number < (1 << 32) - 1 for number in owner):
        raise BadRequest(f"owner {owner}: expected a user id and a group id")
    return owner


ANSWERS: Answers = {}

STREAMS: Streams = {
    Export: export,
    CommitImage: commit_image,
    Diff: diff,
    CopyOut: copy_out,
    CopyIn: copy_in,
}
