"""The layers and the images made of them: what is kept together, and what goes together.

A layer stays while an image has it or somebody holds it. Never unpacks, never interprets a reference.
Used from the trio thread; what takes long is done in another.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import KernelFailure, NoSpace
from wherryd import journal
from wherryd.images import trees
from wherryd.images.catalog import Catalog, Image
from wherryd.images.layers import Layer, LayerStore, mark_opaque

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable
    from pathlib import Path

    from wherryd.images.extraction import Unpacked


class Shelf:
    """What is below `root` but for the `host` image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = LayerStore(root)
        self.images = Catalog(root / "manifests")
        self._settling: set[str] = set()

    def recover(self) -> None:
        """Remove what was left half made, and layers of no image."""
        self.layers.recover()
        self.images.recover(self.layers.__contains__)
        for layer in [*self.layers]:
            if layer.first_image is not None:
                self._migrate(layer, *layer.first_image)
        for digest in self.layers.unused(self.images.layers_in_use()):
            trees.remove_tree(self.layers.take_out(digest))

    def _migrate(self, layer: Layer, archive_size: int, source: str) -> None:
        """Write down the image that a layer of wherry 0.1 was."""
        image = Image(
            digest=layer.digest,
            created_at=layer.created_at,
            source=source,
            archive_size=archive_size,
            layers=(layer.digest,),
            config="",
        )
        if image.digest not in self.images:
            self.images.add(image)
            self.images.settle(image)
        self.layers.migrated(layer)

    # -- layers ---------------------------------------------------------------------------------------------

    def begin(self) -> Path:
        """Return an empty root directory to unpack into. Raises NoSpace."""
        with no_space(self.root):
            return self.layers.begin()

    async def discard(self, folder: Path) -> None:
        """Remove what `begin` returned, unless it became a layer."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.layers.discard, folder)

    async def publish(self, folder: Path, unpacked: Unpacked, created_at: float) -> Layer:
        """Make a filled root directory a layer. Raises NoSpace, KernelFailure."""
        done = unpacked.done
        layer = Layer(
            digest=done.diff_id,
            created_at=created_at,
            size=done.size,
            files=done.entries,
            tar_size=done.tar_size,
            repeatable=done.repeatable,
            bottom=b"" in unpacked.opaque,
        )
        if unpacked.opaque:
            await trio.to_thread.run_sync(mark_opaque, folder, unpacked.opaque)
        with no_space(self.root):
            self.layers.publish(folder, layer)
        return layer

    @asynccontextmanager
    async def holding(self, digests: Iterable[str]) -> AsyncGenerator[None]:
        """Keep layers, there or yet to come, while an image is made of them; if none is, they go again."""
        try:
            with self.layers.holding(digests):
                yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.collect()
            raise

    # -- images ---------------------------------------------------------------------------------------------

    def add(self, image: Image) -> None:
        """Keep an image whose layers are all there; the disk is waited for afterwards. Raises NoSpace."""
        if image.digest in self.images:
            return
        with no_space(self.root):
            self.images.add(image)
        trio.lowlevel.spawn_system_task(self._settle, image, name=f"settle {image.digest}")

    async def remove(self, digest: str) -> int:
        """Remove an image and the layers that only it has; return the bytes that these took."""
        self.images.remove(digest)
        return await self.collect()

    async def collect(self) -> int:
        """Remove the layers of no image that nobody holds; return the bytes that they took."""
        unused = self.layers.unused(self.images.layers_in_use())
        freed = sum(self.layers.get(layer).size for layer in unused)
        graves = [self.layers.take_out(layer) for layer in unused]
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_remove_all, graves)
        return freed

    def roots(self, image: Image) -> tuple[str, ...]:
        """Return the root directories of an image's layers, topmost first, but for those wholly hidden."""
        found: list[str] = []
        for digest in reversed(image.layers):
            found.append(self.layers.path(digest))
            if self.layers.get(digest).bottom:
                break
        return tuple(found)

    async def _settle(self, image: Image) -> None:
        """Wait for the disk; what is cut short here is done at the next start."""
        layers = [
            self.layers.get(digest)
            for digest in {*image.layers} - self._settling
            if digest in self.layers and not self.layers.settled(digest)
        ]
        self._settling.update(layer.digest for layer in layers)
        try:
            await trio.to_thread.run_sync(self.images.settle, image, abandon_on_cancel=True)
            if layers:
                await trio.to_thread.run_sync(self.layers.settle, layers, abandon_on_cancel=True)
        except (OSError, KernelFailure) as error:
            if image.digest in self.images:  # else it was removed meanwhile
                journal.warning("image is not durable yet", digest=image.digest, error=error)
        finally:
            self._settling.difference_update(layer.digest for layer in layers)


def _remove_all(graves: Iterable[Path]) -> None:
    for grave in graves:
        trees.remove_tree(grave)


@contextmanager
def no_space(folder: Path) -> Generator[None]:
    """Turn a failure to write there into NoSpace."""
    try:
        yield
    except OSError as error:
        raise NoSpace(
            f"{folder} cannot be written: {error.strerror}", errno=error.errno, path=str(folder)
        ) from error
