"""The image store: what a reference means, what is kept, what may go.

The one entrance to this package for the rest of the supervisor; used from its trio thread only.
Never mounts anything, never looks into an archive itself.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import BadRequest, Conflict, ImageError, NotFound
from wherry_protocol.images import ImageDetails, ImageSummary, LayerInfo
from wherry_protocol.system import Progress
from wherryd.images import names
from wherryd.images.archives import Archives
from wherryd.images.committing import commit
from wherryd.images.directories import directory_image, is_layout
from wherryd.images.host import HostImage
from wherryd.images.known import Known
from wherryd.images.places import absolute, check_file, stat_of
from wherryd.images.reference import RootImage
from wherryd.images.saving import Asked, save
from wherryd.images.shelf import Shelf

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wherryd.images.archives import Opened
    from wherryd.images.flights import Listener
    from wherryd.images.layers import Layer

OnProgress = Callable[[Progress], None]


class ImageStore:
    """Images under `root` (`<state_dir>/images`); names and file digests in `database` (autocommit)."""

    def __init__(self, root: Path, database: sqlite3.Connection) -> None:
        root = root.absolute()
        self._root = root
        self._shelf = Shelf(root)
        self._known = Known(database)
        self._archives = Archives(self._shelf, self._known)
        self._host = HostImage(root / "host")

    def recover(self) -> None:
        """Remove what was left half made, and names whose image is gone. Call once, before anything else."""
        self._shelf.recover()
        self._host.recover()
        self._known.keep_only(self._shelf.images.__contains__)

    # -- looking --------------------------------------------------------------------------------------------

    async def resolve(
        self, reference: str, base_dir: str | None, progress: OnProgress | None = None
    ) -> RootImage:
        """Return what a reference stands for, unpacking a new archive first.

        "host"; else what begins with "/" or "." is a path (a relative one counts from `base_dir`);
        else a name in the store; else a digest ("sha256:…", or at least 12 hex digits); else a file or
        directory of that name in `base_dir`. An archive or OCI layout must hold one image.
        Raises NotFound, BadRequest, ImageError, NoSpace, KernelFailure.
        """
        if reference == names.HOST:
            return await self._host.image()
        if not names.is_path(reference):
            digest = self._stored(reference)
            if digest is not None:
                return self._image(reference, digest)
        path = absolute(reference, base_dir)
        found = stat_of(path, reference)
        if stat.S_ISDIR(found.st_mode):
            if not is_layout(path):
                return directory_image(reference, path, self._root.parent)
            return self._image(reference, await self._archives.layout_digest(path, _listener(progress)))
        return self._image(reference, await self._from_file(path, found, progress))

    def list(self) -> tuple[ImageSummary, ...]:
        """Return the images in the store, newest first."""
        newest_first = sorted(self._shelf.images, key=lambda image: image.created_at, reverse=True)
        return tuple(self._summary(image.digest) for image in newest_first)

    def find(self, reference: str) -> str:
        """Return the "sha256:…" digest of a stored image by name or digest. Raises NotFound, BadRequest."""
        digest = self._stored(reference)
        if digest is None:
            raise NotFound(f"no image {reference} in the store", hint="`wherry images` lists them")
        return f"sha256:{digest}"

    def inspect(self, reference: str) -> ImageDetails:
        """Return everything about a stored image. Raises NotFound, BadRequest."""
        digest = self.find(reference).removeprefix("sha256:")
        image = self._shelf.images.get(digest)
        return ImageDetails(
            summary=self._summary(digest),
            config=image.config,
            layers=tuple(_layer_info(self._shelf.layers.get(layer)) for layer in image.layers),
            directories=self._shelf.roots(image),
        )

    def shared_size(self, reference: str) -> int:
        """Return how many bytes of an image's layers other images have too. Raises NotFound, BadRequest."""
        digest = self.find(reference).removeprefix("sha256:")
        shared = self._shelf.images.layers_in_use(without=digest)
        layers = {*self._shelf.images.get(digest).layers} & shared
        return sum(self._shelf.layers.get(layer).size for layer in layers)

    # -- bringing in ----------------------------------------------------------------------------------------

    async def import_archive(
        self, path: str, name: str | None, progress: OnProgress | None = None
    ) -> ImageSummary:
        """Put the archive at an absolute path into the store under a name (None: from the file's name).

        Raises BadRequest, NotFound, ImageError, NoSpace, KernelFailure.
        """
        name = names.check_name(name) if name is not None else names.name_from_file(path)
        path = absolute(path, None)
        found = stat_of(path, path)
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(
                f"image {path}: a directory cannot be imported", hint="run it as it is", path=path
            )
        digest = await self._from_file(path, found, progress)
        self._known.give_name(name, digest)
        return self._summary(digest)

    async def load(self, path: str, progress: OnProgress | None = None) -> tuple[ImageSummary, ...]:
        """Put the images of an image archive or OCI layout at an absolute path into the store.

        Raises BadRequest, NotFound, ImageError, NoSpace, KernelFailure.
        """
        path = absolute(path, None)
        found = stat_of(path, path)
        if stat.S_ISDIR(found.st_mode):
            opened = await self._archives.open_layout(path, _listener(progress), plain=False)
        else:
            check_file(path, found)
            opened = await self._archives.open(path, found, _listener(progress), plain=False)
        return self._named(opened, path)

    async def load_stream(self, fd: int, progress: OnProgress | None = None) -> tuple[ImageSummary, ...]:
        """Put the images of the archive that comes out of a file or pipe into the store, as `load`."""
        return self._named(await self._archives.open_stream(fd, _listener(progress)), "-")

    async def commit(
        self,
        layer_fd: int,
        *,
        base: str | None,
        name: str | None,
        changes: Mapping[str, Any],
        history: Mapping[str, str],
        progress: OnProgress | None = None,
    ) -> ImageSummary:
        """Make an image of `base` (a reference to a stored one; None: of nothing) and one new layer.

        `layer_fd` gives the layer's archive, with OCI's whiteouts, to its end: a file or a pipe, which stays
        the caller's. `changes` are fields of an OCI config's `config` to be laid over the base's, `history`
        may have `created_by`, `comment` and `author`.
        Raises NotFound, BadRequest, ImageError, NoSpace, KernelFailure; nothing is left then.
        """
        name = None if name is None else names.check_name(name)
        found = None if base is None else self._shelf.images.get(self.find(base).removeprefix("sha256:"))
        report = _listener(progress) or _unheard
        digest = await commit(self._shelf, layer_fd, found, changes, history, report)
        if name is not None:
            self._known.give_name(name, digest)
        return self._summary(digest)

    def tag(self, reference: str, name: str) -> None:
        """Give a stored image another name, whoever has it now. Raises NotFound, BadRequest."""
        self._known.give_name(names.check_name(name), self.find(reference).removeprefix("sha256:"))

    async def save(self, references: Sequence[str], fd: int, progress: OnProgress | None = None) -> int:
        """Write stored images to a file or pipe as one OCI archive, which docker loads too; return its bytes.

        A reference that is a name gives the image that name in the archive. Raises NotFound, BadRequest,
        ImageError, NoSpace, KernelFailure.
        """
        if not references:
            raise BadRequest("save: no image is named")
        given: dict[str, list[str]] = {}
        for reference in references:
            digest = self.find(reference).removeprefix("sha256:")
            name = self._known.name_of(reference)
            given.setdefault(digest, []).extend([name] if name is not None else [])
        asked = [
            Asked(self._shelf.images.get(digest), tuple(dict.fromkeys(found)))
            for digest, found in given.items()
        ]
        return await save(self._shelf, asked, fd, _listener(progress, "saving") or _unheard)

    def _named(self, opened: tuple[Opened, ...], source: str) -> tuple[ImageSummary, ...]:
        """Give the images of an archive the names it has for them; return them with these names."""
        loaded: list[ImageSummary] = []
        for image in opened:
            found = [name for each in image.names if (name := names.from_archive(each, source))]
            for name in found:
                self._known.give_name(name, image.digest)
            loaded.append(self._summary(image.digest).replace(names=tuple(found)))
        return tuple(loaded)

    # -- removing -------------------------------------------------------------------------------------------

    async def remove(
        self, reference: str, *, force: bool, in_use: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """Remove a name, or with the last name (or by digest) the image; return what was done, a line each.

        `in_use` gives the name of a container that uses a "sha256:…" digest. Such an image stays: without
        `force` that is a Conflict, with it only its names go. By digest an image with several names
        needs `force`. Raises NotFound, Conflict.
        """
        digest = self.find(reference).removeprefix("sha256:")
        by_name = self._known.digest_of_name(reference) is not None
        held = self._known.names_of(digest)
        if by_name and len(held) > 1:
            return (f"untagged: {self._known.drop_name(reference)}",)
        user = in_use(f"sha256:{digest}")
        if user is not None and not force:
            raise Conflict(
                f"image {reference} is used by container {user}",
                hint="remove the container first, or use --force",
            )
        if len(held) > 1 and not force:
            raise Conflict(f"image {reference} has several names: {', '.join(held)}", hint="use --force")
        done = tuple(f"untagged: {self._known.drop_name(name)}" for name in held)
        if user is None:
            await self._delete(digest)
            done += (f"deleted: sha256:{digest}",)
        return done

    async def _delete(self, digest: str) -> int:
        self._known.forget(digest)
        return await self._shelf.remove(digest)

    async def _from_file(self, path: str, found: os.stat_result, progress: OnProgress | None) -> str:
        check_file(path, found)
        return await self._archives.digest(path, found, _listener(progress))

    def _stored(self, reference: str) -> str | None:
        """Return the hex digest of a name, a digest or the beginning of one."""
        digest = self._known.digest_of_name(reference)
        if digest is not None:
            return digest
        prefix = names.digest_prefix(reference)
        if prefix is None:
            return None
        matches = [image.digest for image in self._shelf.images if image.digest.startswith(prefix)]
        if len(matches) > 1:
            raise BadRequest(f"image {reference}: {len(matches)} digests begin so", hint="give more digits")
        return matches[0] if matches else None

    def _image(self, reference: str, digest: str) -> RootImage:
        return RootImage(
            reference=reference,
            digest=f"sha256:{digest}",
            layers=self._shelf.roots(self._shelf.images.get(digest)),
            config=self._shelf.images.config(digest),
        )

    def _summary(self, digest: str) -> ImageSummary:
        image = self._shelf.images.get(digest)
        layers = [self._shelf.layers.get(layer) for layer in dict.fromkeys(image.layers)]
        return ImageSummary(
            names=self._known.names_of(digest),
            digest=f"sha256:{digest}",
            created_at=image.created_at,
            size=sum(layer.size for layer in layers),
            files=sum(layer.files for layer in layers),
            source=image.source,
            layers=len(image.layers),
            labels=self._shelf.images.config(digest).labels,
        )


def _layer_info(layer: Layer) -> LayerInfo:
    return LayerInfo(diff_id=f"sha256:{layer.digest}", size=layer.size, files=layer.files)


def _listener(progress: OnProgress | None, phase: str = "unpacking") -> Listener | None:
    if progress is None:
        return None
    return lambda done, total: progress(Progress(phase=phase, done=done, total=total))


def _unheard(_done: int, _total: int) -> None:
    """Nobody wants to know."""
