"""From an image archive to images in the store: each missing layer unpacked once, however many ask.

Owns the order of steps and their clean-up: a load that fails leaves no layer behind that nobody else has.
Never parses an archive: workers do.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import ImageError, WherryError
from wherryd.images import configs
from wherryd.images.catalog import Image
from wherryd.images.extraction import LayerJob, extract_layers
from wherryd.kernel.errors import KernelError
from wherryd.kernel.paths import open_in_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wherryd.images.blobs import Place
    from wherryd.images.flights import Listener
    from wherryd.images.manifests import Blob, Found
    from wherryd.images.shelf import Shelf

    OpenBlob = Callable[[Place], int]
    """Return a new descriptor of the file that has a blob. May block. Raises OSError, KernelError."""

BATCH = 64
"""Layers that one worker unpacks: each has an open file."""


class Loader:
    """Brings images into the store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._claims: dict[str, trio.Event] = {}

    async def load(
        self, found: Sequence[Found], open_blob: OpenBlob, source: str, report: Listener
    ) -> tuple[str, ...]:
        """Keep every image and return their digests. Raises ImageError, NoSpace, KernelFailure."""
        blobs = {blob.diff_id: blob for image in found for blob in image.layers}
        progress = _Progress(sum(blob.place.size for blob in blobs.values()), report)
        async with self._shelf.holding(blobs):
            await self._obtain(blobs, open_blob, progress)
            for image in found:
                self._shelf.add(_image(image, source))
        return tuple(image.digest for image in found)

    async def _obtain(self, blobs: dict[str, Blob], open_blob: OpenBlob, progress: _Progress) -> None:
        """Unpack the layers that are missing; wait for those that somebody else is unpacking."""
        while missing := [digest for digest in blobs if digest not in self._shelf.layers]:
            mine = [blobs[digest] for digest in missing if digest not in self._claims][:BATCH]
            if mine:
                await self._unpack(mine, open_blob, progress)
            else:
                await self._claims[missing[0]].wait()

    async def _unpack(self, blobs: list[Blob], open_blob: OpenBlob, progress: _Progress) -> None:
        with ExitStack() as stack:
            claim = trio.Event()
            for blob in blobs:
                self._claims[blob.diff_id] = claim
                stack.callback(self._claims.pop, blob.diff_id)
            stack.callback(claim.set)
            fds = await _open_all(blobs, open_blob)
            for fd in fds:
                stack.callback(os.close, fd)
            await self._fill(blobs, fds, progress)

    async def _fill(self, blobs: list[Blob], fds: list[int], progress: _Progress) -> None:
        folders: list[Path] = []
        try:
            for _ in blobs:
                folders.append(self._shelf.begin())  # noqa: PERF401 - those that were made count if one fails
            jobs = [
                LayerJob(fd, blob.place.offset, blob.place.size, folder, f"layer {blob.diff_id[:12]}")
                for fd, blob, folder in zip(fds, blobs, folders, strict=True)
            ]
            layers = await extract_layers(jobs, progress.within)
            for blob, layer in zip(blobs, layers, strict=True):
                _verify(blob, layer.done.digest, layer.done.diff_id)
            for folder, layer in zip(folders, layers, strict=True):
                await self._shelf.publish(folder, layer, time.time())
            progress.ended(jobs)
        finally:
            for folder in folders:
                await self._shelf.discard(folder)


class _Progress:
    """How much has been read of all the layers of a load."""

    def __init__(self, total: int, report: Listener) -> None:
        self._total = total
        self._report = report
        self._before = 0

    def within(self, done: int) -> None:
        self._report(self._before + done, self._total)

    def ended(self, jobs: Sequence[LayerJob]) -> None:
        self._before += sum(job.size for job in jobs)
        self._report(self._before, self._total)


def _image(found: Found, source: str) -> Image:
    document = configs.parse_json(found.config, "the image's config")
    return Image(
        digest=found.digest,
        created_at=configs.created_at(document),
        source=source,
        archive_size=0,
        layers=tuple(blob.diff_id for blob in found.layers),
        config=found.config,
    )


def _verify(blob: Blob, digest: str, diff_id: str) -> None:
    if blob.digest not in ("", digest):
        raise ImageError(f"layer {blob.digest[:12]} is damaged: its digest is {digest[:12]}")
    if blob.diff_id != diff_id:
        raise ImageError(f"layer {blob.diff_id[:12]} is damaged: its content has the digest {diff_id[:12]}")


async def _open_all(blobs: list[Blob], open_blob: OpenBlob) -> list[int]:
    """Return a descriptor for each layer's archive, all or none."""

    def work() -> list[int]:
        fds: list[int] = []
        try:
            for blob in blobs:
                fds.append(open_blob(blob.place))  # noqa: PERF401 - those that are open count if one fails
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return fds

    try:
        # not abandoned when cancelled: the descriptors have to come to somebody
        return await trio.to_thread.run_sync(work)
    except (OSError, KernelError) as error:
        raise ImageError(f"a layer cannot be read: {error.strerror}", errno=error.errno) from error


def in_archive(fd: int) -> OpenBlob:
    """Return the opener of blobs that lie in the archive at `fd`."""
    return lambda _place: os.dup(fd)


def in_folder(root: int) -> OpenBlob:
    """Return the opener of blobs that are files in the folder at `root`; no link leads out of it."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    return lambda place: open_in_root(root, place.name, flags)


def named(error: WherryError, path: str) -> WherryError:
    """Return an error that says of which image it is."""
    return type(error)(f"image {path}: {error.message}", hint=error.hint, errno=error.errno, path=path)
