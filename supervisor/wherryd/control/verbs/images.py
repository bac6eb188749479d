"""What requests about images mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.images import Images, ImportImage, RemoveImage

if TYPE_CHECKING:
    from wherry_protocol.images import ImageSummary
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.session import Emitter


_ACTIONS = {"untagged": "untag", "deleted": "delete"}
"""Docker's action for what was done."""


async def images(context: Context, _: Images) -> tuple[ImageSummary, ...]:
    return context.images.list()


async def remove_image(context: Context, call: RemoveImage) -> tuple[str, ...]:
    digest = context.images.find(call.ref)
    done = await context.images.remove(call.ref, force=call.force, in_use=context.manager.user_of_image)
    for line in done:
        word, _, what = line.partition(": ")
        context.manager.services.events.emit("image", _ACTIONS[word], digest, {"name": what})
    return done


async def import_image(context: Context, call: ImportImage, emitter: Emitter) -> ImageSummary:
    image = await context.images.import_archive(call.path, call.name, emitter.soon)
    name = call.name or image.names[-1]
    context.manager.services.events.emit("image", "import", image.digest, {"name": name})
    return image


ANSWERS: Answers = {
    Images: images,
    RemoveImage: remove_image,
}

STREAMS: Streams = {
    ImportImage: import_image,
}
