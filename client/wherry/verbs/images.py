# Made from async_verbs/images.py by tests/client/generate_verbs.py: change that one.
"""The plain client's verbs about images."""

from __future__ import annotations

from wherry.spec import absolute_path
from wherry.verbs.base import VerbsBase, ignore
from wherry_protocol.lazy import Lazy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from wherry.event_stream import EventStream
    from wherry_protocol import images
    from wherry_protocol.images import ImageSummary
    from wherry_protocol.system import Progress
else:
    images = Lazy("wherry_protocol.images")


class ImageVerbs(VerbsBase):
    """One method per verb about images."""

    def images(self) -> tuple[ImageSummary, ...]:
        """Return the images in the store, newest first."""
        return self.call(images.Images())

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
