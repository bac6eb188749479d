"""The images on disk: a small file for each, naming its layers; there whole or not at all.

    images/manifests/<digest>.json

A file is written aside and renamed; one that a power cut took, or whose layers are gone, does not count.
Never touches a layer. All calls block, for one small file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wherryd.images import configs, trees
from wherryd.images.broken import BrokenArchive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherryd.images.reference import ImageConfig

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image. `digest` in hex: of its config, or of a plain archive as it is.

    `layers` are the digests of its layers, bottom first. `config` is the config's JSON, "" for a plain
    archive, whose size in bytes is `archive_size` (else 0). `created_at` is in seconds since the epoch.
    """

    digest: str
    created_at: float
    source: str
    archive_size: int
    layers: tuple[str, ...]
    config: str


class Catalog:
    """The folder of images, and what is in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, Image] = {}
        self._configs: dict[str, ImageConfig] = {}

    def recover(self, whole: Callable[[str], bool]) -> None:
        """Learn what is there, and remove what is of no use: `whole` says whether a layer is there."""
        self._known, self._configs = {}, {}
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._root.iterdir():
            image = _described(path)
            if image is None or not all(map(whole, image.layers)):
                path.unlink()
            else:
                self._known[image.digest] = image

    def __iter__(self) -> Iterator[Image]:
        return iter(self._known.values())

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, digest: str) -> Image:
        """Return what is known of an image that is there."""
        return self._known[digest]

    def config(self, digest: str) -> ImageConfig:
        """Return what an image says about running it."""
        if digest not in self._configs:
            text = self._known[digest].config
            # it was checked when it came in
            document = configs.parse_json(text, "the image's config") if text else {}
            self._configs[digest] = configs.image_config(document)
        return self._configs[digest]

    def has_archive_size(self, size: int) -> bool:
        """Say whether some image was made from a plain archive of this many bytes."""
        return any(image.archive_size == size for image in self._known.values())

    def layers_in_use(self, without: str = "") -> set[str]:
        """Return the digests of every layer that an image has, one image left out."""
        return {layer for image in self._known.values() if image.digest != without for layer in image.layers}

    def add(self, image: Image) -> None:
        """Make an image known; `settle` is to follow. Raises OSError."""
        path = self._path(image.digest)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(asdict(image)), encoding="utf-8")
        aside.rename(path)
        self._known[image.digest] = image

    def settle(self, image: Image) -> None:
        """Make an image's file durable; one that was removed meanwhile needs nothing."""
        try:
            fd = os.open(self._path(image.digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        trees.sync_folder(self._root)

    def remove(self, digest: str) -> None:
        """Forget an image."""
        self._path(digest).unlink(missing_ok=True)
        del self._known[digest]
        self._configs.pop(digest, None)

    def _path(self, digest: str) -> Path:
        return self._root / f"{digest}{_SUFFIX}"


def _described(path: Path) -> Image | None:
    """Return the image of a file; None if it cannot say, and so is to be loaded again."""
    try:
        meta: dict[str, Any] = json.loads(path.read_bytes())
        meta["layers"] = tuple(meta["layers"])
        image = Image(**meta)
        configs.image_config(configs.parse_json(image.config, "config") if image.config else {})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BrokenArchive):
        return None
    return image if path.name == f"{image.digest}{_SUFFIX}" and image.layers else None
