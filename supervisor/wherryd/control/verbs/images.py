"""What requests about images mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest
from wherry_protocol.images import (
    Images,
    ImportImage,
    InspectImage,
    LoadImages,
    RemoveImage,
    SaveImages,
    TagImage,
)
from wherryd.events.of_images import tell_image, tell_removed

if TYPE_CHECKING:
    from wherry_protocol.images import ImageDetails, ImageSummary
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter


async def images(context: Context, _: Images) -> tuple[ImageSummary, ...]:
    return context.images.list()


async def remove_image(context: Context, call: RemoveImage) -> tuple[str, ...]:
    digest = context.images.find(call.ref)
    done = await context.images.remove(call.ref, force=call.force, in_use=context.manager.user_of_image)
    tell_removed(context.manager.services.events, digest, done)
    return done


async def import_image(context: Context, call: ImportImage, emitter: Emitter) -> ImageSummary:
    image = await context.images.import_archive(call.path, call.name, emitter.soon)
    _tell(context, "import", image.digest, call.name or image.names[-1])
    return image


async def inspect_image(context: Context, call: InspectImage) -> ImageDetails:
    return context.images.inspect(call.ref)


async def tag_image(context: Context, call: TagImage) -> None:
    context.images.tag(call.ref, call.name)
    _tell(context, "tag", context.images.find(call.name), call.name)


async def load_images(context: Context, call: LoadImages, emitter: Emitter) -> tuple[ImageSummary, ...]:
    if call.path is not None:
        loaded = await context.images.load(call.path, emitter.soon)
    elif emitter.fds:
        loaded = await context.images.load_stream(emitter.fds[0], emitter.soon)
    else:
        raise BadRequest("load: neither a path nor a descriptor came along")
    for image in loaded:
        _tell(context, "load", image.digest, ", ".join(image.names))
    return loaded


async def save_images(context: Context, call: SaveImages, emitter: Emitter) -> int:
    if not emitter.fds:
        raise BadRequest("save: no descriptor came along to write to")
    digests = {ref: context.images.find(ref) for ref in call.refs}
    size = await context.images.save(call.refs, emitter.fds[0], emitter.soon)
    for ref, digest in digests.items():
        _tell(context, "save", digest, ref)
    return size


def _tell(context: Context, action: str, digest: str, name: str) -> None:
    tell_image(context.manager.services.events, action, digest, name)


ANSWERS: Answers = {
    Images: images,
    InspectImage: inspect_image,
    RemoveImage: remove_image,
    TagImage: tag_image,
}

STREAMS: Streams = {
    ImportImage: import_image,
    LoadImages: load_images,
    SaveImages: save_images,
}
