"""The image store: what a reference means, what is kept, what may go.

The one entrance to this package for the rest of the supervisor; used from its trio thread only.
Never mounts anything, never looks into an archive itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, Conflict, ImageError, NotFound
from wherry_protocol.images import ImageSummary
from wherry_protocol.system import Progress
from wherryd.images import names, trees
from wherryd.images.archives import Archives
from wherryd.images.directories import directory_image
from wherryd.images.host import HostImage
from wherryd.images.known import Known
from wherryd.images.layers import LayerStore
from wherryd.images.reference import RootImage

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from wherryd.images.flights import Listener

OnProgress = Callable[[Progress], None]


class ImageStore:
    """Images under `root` (`<state_dir>/images`); names and file digests in `database` (autocommit)."""

    def __init__(self, root: Path, database: sqlite3.Connection) -> None:
        root = root.absolute()
        self._root = root
        self._layers = LayerStore(root)
        self._known = Known(database)
        self._archives = Archives(self._layers, self._known)
        self._host = HostImage(root / "host")

    def recover(self) -> None:
        """Remove what was left half made, and names whose layer is gone. Call once, before anything else."""
        self._layers.recover()
        self._host.recover()
        self._known.keep_only(self._layers.__contains__)

    async def resolve(
        self, reference: str, base_dir: str | None, progress: OnProgress | None = None
    ) -> RootImage:
        """Return what a reference stands for, unpacking a new archive first.

        "host"; else anything with a "/" or a "." in front is a path (a relative one counts from `base_dir`);
        else a name in the store; else a digest ("sha256:…", or at least 12 hex digits); else a file or
        directory of that name in `base_dir`.
        Raises NotFound, BadRequest, ImageError, NoSpace, KernelFailure.
        """
        if reference == names.HOST:
            return await self._host.image()
        if not names.is_path(reference):
            digest = self._stored(reference)
            if digest is not None:
                return self._image(reference, digest)
        path = _absolute(reference, base_dir)
        found = _stat(path, reference)
        if stat.S_ISDIR(found.st_mode):
            return directory_image(reference, path, self._root.parent)
        return self._image(reference, await self._from_file(path, found, progress))

    async def import_archive(
        self, path: str, name: str | None, progress: OnProgress | None = None
    ) -> ImageSummary:
        """Put the archive at an absolute path into the store under a name (None: from the file's name).

        Raises BadRequest, NotFound, ImageError, NoSpace, KernelFailure.
        """
        name = names.check_name(name) if name is not None else names.name_from_file(path)
        path = _absolute(path, None)
        found = _stat(path, path)
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(
                f"image {path}: a directory cannot be imported", hint="run it as it is", path=path
            )
        digest = await self._from_file(path, found, progress)
        self._known.give_name(name, digest)
        return self._summary(digest)

    def list(self) -> tuple[ImageSummary, ...]:
        """Return the images in the store, newest first."""
        newest_first = sorted(self._layers, key=lambda layer: layer.created_at, reverse=True)
        return tuple(self._summary(layer.digest) for layer in newest_first)

    def find(self, reference: str) -> str:
        """Return the "sha256:…" digest of a stored image by name or digest. Raises NotFound, BadRequest."""
        digest = self._stored(reference)
        if digest is None:
            raise NotFound(f"no image {reference} in the store", hint="`wherry images` lists them")
        return f"sha256:{digest}"

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

    async def _delete(self, digest: str) -> None:
        self._known.forget(digest)
        grave = self._layers.take_out(digest)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(trees.remove_tree, grave)

    async def _from_file(self, path: str, found: os.stat_result, progress: OnProgress | None) -> str:
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"image {path}: neither a file nor a directory", path=path)
        if found.st_size == 0:
            raise ImageError(f"image {path}: the file is empty", path=path)
        return await self._archives.digest(path, found, _listener(progress))

    def _stored(self, reference: str) -> str | None:
        """Return the hex digest of a name, a digest or the beginning of one."""
        digest = self._known.digest_of_name(reference)
        if digest is not None:
            return digest
        prefix = names.digest_prefix(reference)
        if prefix is None:
            return None
        matches = [layer.digest for layer in self._layers if layer.digest.startswith(prefix)]
        if len(matches) > 1:
            raise BadRequest(f"image {reference}: {len(matches)} digests begin so", hint="give more digits")
        return matches[0] if matches else None

    def _image(self, reference: str, digest: str) -> RootImage:
        return RootImage(reference=reference, digest=f"sha256:{digest}", layers=(self._layers.path(digest),))

    def _summary(self, digest: str) -> ImageSummary:
        layer = self._layers.get(digest)
        return ImageSummary(
            names=self._known.names_of(digest),
            digest=f"sha256:{digest}",
            created_at=layer.created_at,
            size=layer.size,
            files=layer.files,
            source=layer.source,
        )


def _listener(progress: OnProgress | None) -> Listener | None:
    if progress is None:
        return None
    return lambda done, total: progress(Progress(phase="unpacking", done=done, total=total))


def _absolute(reference: str, base_dir: str | None) -> str:
    if "\0" in reference or not reference:
        raise BadRequest("an image reference is empty or has a NUL byte in it")
    if reference.startswith("/"):
        return reference
    if base_dir is None or not base_dir.startswith("/"):
        if not names.is_path(reference):
            raise _not_found(reference)
        raise BadRequest(f"image {reference}: a relative path, and no directory to count from")
    return os.path.join(base_dir, reference)


def _stat(path: str, reference: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(reference) from error
    except OSError as error:
        raise ImageError(f"image {path}: {error.strerror}", errno=error.errno, path=path) from error


def _not_found(reference: str) -> NotFound:
    if names.is_path(reference):
        return NotFound(f"image {reference}: no such file or directory", path=reference)
    return NotFound(
        f"no image {reference}: neither in the store nor a file or directory here",
        hint="give a directory, a tar archive, 'host', or a name that `wherry images` shows",
    )
