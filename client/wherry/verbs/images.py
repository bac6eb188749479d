# Made from async_verbs/images.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about images."""

from __future__ import annotations

from wherry.spec import absolute_path
from wherry.verbs.base import VerbsBase, ignore
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from wherry.event_stream import EventStream
    from wherry_protocol import images
    from wherry_protocol.images import ImageDetails, ImageSummary
    from wherry_protocol.system import Progress
else:
    images = Lazy("wherry_protocol.images")


class ImageVerbs(VerbsBase):
    """One method per verb about images."""

    def images(self) -> tuple[ImageSummary, ...]:
        """Return the images in the store, newest first."""
        return self.call(images.Images())

    def inspect_image(self, ref: str) -> ImageDetails:
        """Return everything about one image in the store."""
        return self.call(images.InspectImage(ref=ref))

    def tag_image(self, ref: str, name: str) -> None:
        """Give an image another name; whoever has that name loses it."""
        self.call(images.TagImage(ref=ref, name=name))

    def remove_image(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        """Remove a name, and with the last name the image; return what was done, a line each.

        Raises Conflict if a container uses it, unless `force` (then only the name goes).
        """
        return self.call(images.RemoveImage(ref=ref, force=force))

    def import_image(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ImageSummary:
        """Put an archive into the store, under `name` (None: the file's, without its suffixes).

        Raises ImageError for a broken or refused archive, NoSpace.
        """
        with self.import_stream(path, name) as stream:
            return stream.drain(on_progress or ignore)

    def import_stream(
        self, path: str | os.PathLike[str], name: str | None = None
    ) -> EventStream[Progress, ImageSummary]:
        """Put an archive into the store and iterate over its progress; `answer` is the image."""
        return self.stream(images.ImportImage(path=absolute_path(path), name=name))

    def load_images(
        self, source: str | os.PathLike[str] | int, *, on_progress: Callable[[Progress], None] | None = None
    ) -> tuple[ImageSummary, ...]:
        """Put the images of an archive (`docker save`, `wherry save`, OCI) or OCI layout into the store.

        `source` is a file, an OCI layout's directory, or a descriptor (a pipe will do). The images get the
        names that the archive has for them. Raises ImageError for a broken or refused archive, NoSpace.
        """
        with self.load_stream(source) as stream:
            return stream.drain(on_progress or ignore)

    def load_stream(
        self, source: str | os.PathLike[str] | int
    ) -> EventStream[Progress, tuple[ImageSummary, ...]]:
        """Load images as load_images(), and iterate over the progress; `answer` are the images."""
        if isinstance(source, int):
            return self.stream(images.LoadImages(), (source,))
        return self.stream(images.LoadImages(path=absolute_path(source)))

    def save_images(
        self, refs: Sequence[str], fd: int, *, on_progress: Callable[[Progress], None] | None = None
    ) -> int:
        """Write images to a descriptor (a file, a pipe) as one archive; return its bytes.

        It is an OCI layout in a tar with uncompressed layers, and docker and podman load it. A reference that
        is a name is the image's name in it. Raises NotFound, ImageError, NoSpace.
        """
        with self.save_stream(refs, fd) as stream:
            return stream.drain(on_progress or ignore)

    def save_stream(self, refs: Sequence[str], fd: int) -> EventStream[Progress, int]:
        """Write images as save_images(), and iterate over the progress; `answer` is the archive's bytes."""
        return self.stream(images.SaveImages(refs=tuple(refs)), (fd,))
