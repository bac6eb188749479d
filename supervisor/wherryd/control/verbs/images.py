"""What requests about images mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.images import Images, ImportImage, RemoveImage

if TYPE_CHECKING:
    from wherry_protocol.images import ImageSummary
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.session import Emitter


async def images(context: Context, _: Images) -> tuple[ImageSummary, ...]:
    return context.images.list()


async def remove_image(context: Context, call: RemoveImage) -> tuple[str, ...]:
    return await context.images.remove(call.ref, force=call.force, in_use=context.manager.user_of_image)


async def import_image(context: Context, call: ImportImage, emitter: Emitter) -> ImageSummary:
    return await context.images.import_archive(call.path, call.name, emitter.soon)


ANSWERS: Answers = {
    Images: images,
    RemoveImage: remove_image,
}

STREAMS: Streams = {
    ImportImage: import_image,
}
