"""Image requests."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.system import Progress
from wherry_protocol.value import Value


class ImageSummary(Value):
    """A row of `images`. `digest` is "sha256:" and the archive's digest; `size` is bytes on disk."""

    names: tuple[str, ...]
    digest: str
    created_at: float
    size: int
    files: int
    source: str


class Images(Call[tuple[ImageSummary, ...]]):
    """Ask for the images in the store, newest first."""

    op = "images"
    answer = tuple[ImageSummary, ...]


class RemoveImage(Call[tuple[str, ...]]):
    """Remove a name, or with the last name (or a digest) the image. Answers what was done, a line each.

    An image that a container uses is refused, unless `force` (then only the name goes).
    """

    op = "rmi"
    answer = tuple[str, ...]
    ref: str
    force: bool = False


class ImportImage(Stream[ImageSummary]):
    """Put an archive into the store, under `name` (None: the file's name without its suffixes)."""

    op = "import"
    answer = ImageSummary
    events = (Progress,)
    path: str
    name: str | None = None
