"""The async client's verbs about images."""

from __future__ import annotations

from wherry.async_verbs.base import AsyncVerbsBase, ignore
from wherry.spec import absolute_path
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from wherry.async_event_stream import AsyncEventStream
    from wherry_protocol import images
    from wherry_protocol.images import ImageDetails, ImageSummary
    from wherry_protocol.system import Progress
else:
    images = Lazy("wherry_protocol.images")


class AsyncImageVerbs(AsyncVerbsBase):
    """One method per verb about images."""

    async def images(self) -> tuple[ImageSummary, ...]:
        """Return the images in the store, newest first."""
        return await self.call(images.Images())

    async def inspect_image(self, ref: str) -> ImageDetails:
        """Return everything about one image in the store."""
        return await self.call(images.InspectImage(ref=ref))

    async def tag_image(self, ref: str, name: str) -> None:
        """Give an image another name; whoever has that name loses it."""
        await self.call(images.TagImage(ref=ref, name=name))

    async def remove_image(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        """Remove a name, and with the last name the image; return what was done, a line each.

        Raises Conflict if a container uses it, unless `force` (then only the name goes).
        """
        return await self.call(images.RemoveImage(ref=ref, force=force))

    async def import_image(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ImageSummary:
        """Put an archive into the store, under `name` (None: the file's, without its suffixes).

        Raises ImageError for a broken or refused archive, NoSpace.
        """
        async with self.import_stream(path, name) as stream:
            return await stream.drain(on_progress or ignore)

    def import_stream(
        self, path: str | os.PathLike[str], name: str | None = None
    ) -> AsyncEventStream[Progress, ImageSummary]:
        """Put an archive into the store and iterate over its progress; `answer` is the image."""
        return self.stream(images.ImportImage(path=absolute_path(path), name=name))

    async def load_images(
        self, source: str | os.PathLike[str] | int, *, on_progress: Callable[[Progress], None] | None = None
    ) -> tuple[ImageSummary, ...]:
        """Put the images of an archive (`docker save`, `wherry save`, OCI) or OCI layout into the store.

        `source` is a file, an OCI layout's directory, or a descriptor (a pipe will do). The images get the
        names that the archive has for them. Raises ImageError for a broken or refused archive, NoSpace.
        """
        async with self.load_stream(source) as stream:
            return await stream.drain(on_progress or ignore)

    def load_stream(
        self, source: str | os.PathLike[str] | int
    ) -> AsyncEventStream[Progress, tuple[ImageSummary, ...]]:
        """Load images as load_images(), and iterate over the progress; `answer` are the images."""
        if isinstance(source, int):
            return self.stream(images.LoadImages(), (source,))
        return self.stream(images.LoadImages(path=absolute_path(source)))

    async def save_images(
        self, refs: Sequence[str], fd: int, *, on_progress: Callable[[Progress], None] | None = None
    ) -> int:
        """Write images to a descriptor (a file, a pipe) as one archive; return its bytes.

        It is an OCI layout in a tar with uncompressed layers, and docker and podman load it. A reference that
        is a name is the image's name in it. Raises NotFound, ImageError, NoSpace.
        """
        async with self.save_stream(refs, fd) as stream:
            return await stream.drain(on_progress or ignore)

    def save_stream(self, refs: Sequence[str], fd: int) -> AsyncEventStream[Progress, int]:
        """Write images as save_images(), and iterate over the progress; `answer` is the archive's bytes."""
        return self.stream(images.SaveImages(refs=tuple(refs)), (fd,))
