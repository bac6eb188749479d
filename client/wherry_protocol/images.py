"""Image requests."""

from __future__ import annotations

from wherry_protocol.call import Call, Stream
from wherry_protocol.system import Progress
from wherry_protocol.typed import Mapping  # noqa: TC001 - a field's annotation, which the codec evaluates
from wherry_protocol.value import Value

NOTHING: Mapping[str, str] = {}
"""The default of a map; nobody changes it."""


class ImageSummary(Value):
    """A row of `images`. `digest` is "sha256:" and the digest of the image's config (or of a plain archive).

    `size` is bytes on disk, and `files` entries, of all its layers, which other images may share.
    """

    names: tuple[str, ...]
    digest: str
    created_at: float
    size: int
    files: int
    source: str
    layers: int = 1
    labels: Mapping[str, str] = NOTHING


class LayerInfo(Value):
    """A layer of an image: "sha256:" and the digest of its uncompressed archive, and what it takes."""

    diff_id: str
    size: int
    files: int


class ImageDetails(Value):
    """Everything about an image. `config` is the JSON of its OCI config, "" for a plain archive.

    `layers` are bottom first. `directories` are the layers' on disk, topmost first, as overlayfs has them.
    """

    summary: ImageSummary
    config: str
    layers: tuple[LayerInfo, ...]
    directories: tuple[str, ...]


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


class InspectImage(Call[ImageDetails]):
    """Ask for everything about one image in the store."""

    op = "image_inspect"
    answer = ImageDetails
    ref: str


class TagImage(Call[None]):
    """Give an image another name; whoever has that name loses it."""

    op = "tag"
    ref: str
    name: str


class SaveImages(Stream[int]):
    """Write images as one archive to the descriptor that rides along; answers with its bytes.

    It is an OCI layout in a tar, with docker's manifest.json in it. References that are names are the names
    in it.
    """

    op = "save"
    answer = int
    events = (Progress,)
    descriptors = 1
    refs: tuple[str, ...]


class LoadImages(Stream[tuple[ImageSummary, ...]]):
    """Put the images of an archive (`docker save`, OCI) or OCI layout into the store, under their own names.

    `path` is absolute; None: the archive comes out of the descriptor that rides along, a file or a pipe.
    """

    op = "load"
    answer = tuple[ImageSummary, ...]
    events = (Progress,)
    descriptors = 1
    path: str | None = None
