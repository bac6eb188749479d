"""From an archive file to its images: hashed and unpacked in one reading, once, however many ask.

Owns the order of steps and their clean-up. Never parses the archive: the worker does.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio

from wherry_protocol.errors import ImageError, WherryError
from wherryd.images.catalog import Image
from wherryd.images.directories import index_of_layout
from wherryd.images.extraction import Images, Unpacked, extract, look_into
from wherryd.images.flights import Flights, Listener
from wherryd.images.known import Identity, Known
from wherryd.images.loading import Loader, in_archive, in_folder, named

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from wherryd.images.manifests import Found
    from wherryd.images.records import Done
    from wherryd.images.shelf import Shelf

_TICK = 0.02  # seconds; a file's ctime has the resolution of the kernel's tick, 10 ms at most
_HASH_STEP = 8 << 20


class Opened(NamedTuple):
    """An image that came out of an archive: its digest in hex, and the names that the archive gives it."""

    digest: str
    names: tuple[str, ...] = ()


class Archives:
    """Finds or makes the images of an archive file or an OCI layout."""

    def __init__(self, shelf: Shelf, known: Known) -> None:
        self._shelf = shelf
        self._known = known
        self._loader = Loader(shelf)
        self._flights: Flights[tuple[Opened, ...]] = Flights()
        self._sizes: dict[int, tuple[trio.Lock, int]] = {}

    async def digest(self, path: str, found: os.stat_result, listener: Listener | None) -> str:
        """Return the digest of the one image in the archive at `path`; it is in the store then.

        Raises ImageError, NoSpace, KernelFailure.
        """
        identity = Identity.of(found)
        digest = self._known.digest_of_file(path, identity)
        if digest is None:
            (image,) = await self.open(path, found, listener)
            digest = image.digest
            self._known.remember_file(path, identity, digest)
        return digest

    async def open(
        self, path: str, found: os.stat_result, listener: Listener | None, *, plain: bool = True
    ) -> tuple[Opened, ...]:
        """Return the images in the archive at `path`, which are in the store then.

        With `plain` it must be one image, as a root's archive is too; without, a root's archive is refused.
        Raises ImageError, NoSpace, KernelFailure.
        """
        identity = Identity.of(found)

        async def job(report: Listener) -> tuple[Opened, ...]:
            return await self._obtain(path, identity, report, plain=plain)

        return await self._flights.join((identity, plain), job, listener)

    async def open_layout(
        self, path: str, listener: Listener | None, *, plain: bool = True
    ) -> tuple[Opened, ...]:
        """Return the images in the OCI layout (or unpacked `docker save`) at `path`, as `open`."""

        async def job(report: Listener) -> tuple[Opened, ...]:
            try:
                images = await look_into(path)
                if plain:
                    _expect_one(images.found)
                return await self._load_folder(images.found, path, path, report)
            except WherryError as error:
                raise named(error, path) from error

        return await self._flights.join((path, plain), job, listener)

    async def layout_digest(self, path: str, listener: Listener | None) -> str:
        """Return the digest of the one image in the OCI layout at `path`, as `digest`.

        Blobs go by their digest: it is the same image while its index is the same file.
        """
        index = index_of_layout(path)
        identity = Identity.of(os.stat(index))
        digest = self._known.digest_of_file(index, identity)
        if digest is None:
            await _let_the_tick_pass(identity)
            (image,) = await self.open_layout(path, listener)
            digest = image.digest
            self._known.remember_file(index, identity, digest)
        return digest

    async def open_stream(self, fd: int, listener: Listener | None) -> tuple[Opened, ...]:
        """Return the images in the archive that comes out of `fd`, a file or a pipe, as `open`."""
        try:
            return await self._make("-", fd, None, listener or _nobody, plain=False)
        except WherryError as error:
            raise named(error, "from standard input") from error

    async def _obtain(
        self, path: str, identity: Identity, report: Listener, *, plain: bool
    ) -> tuple[Opened, ...]:
        fd = _open(path)
        try:
            await _let_the_tick_pass(identity)
            async with self._alone(identity.size):
                return await self._find_or_make(path, fd, identity, report, plain=plain)
        except WherryError as error:
            raise named(error, path) from error
        finally:
            os.close(fd)

    async def _find_or_make(
        self, path: str, fd: int, identity: Identity, report: Listener, *, plain: bool
    ) -> tuple[Opened, ...]:
        _expect_unchanged(fd, identity)
        if plain and self._shelf.images.has_archive_size(identity.size):
            # most likely a copy of an archive that was unpacked already: reading it is cheaper than that
            digest = await _hash(fd, identity.size, report)
            _expect_unchanged(fd, identity)
            if digest in self._shelf.images:
                return (Opened(digest),)
            os.lseek(fd, 0, os.SEEK_SET)
        return await self._make(path, fd, identity, report, plain=plain)

    async def _make(
        self, path: str, fd: int, identity: Identity | None, report: Listener, *, plain: bool
    ) -> tuple[Opened, ...]:
        total = identity.size if identity else 0
        folder = self._shelf.begin()
        try:
            made = await extract(fd, folder, lambda done: report(done, total), plain=plain)
            if identity:
                _expect_unchanged(fd, identity)
            if isinstance(made, Images):
                if plain:
                    _expect_one(made.found)
                return await self._load(made, path, fd, folder, report)
            return await self._keep(made, path, folder, total)
        finally:
            await self._shelf.discard(folder)

    async def _load(
        self, images: Images, path: str, fd: int, folder: Path, report: Listener
    ) -> tuple[Opened, ...]:
        if images.unpacked:
            return await self._load_folder(images.found, str(folder), path, report)
        digests = await self._loader.load(images.found, in_archive(fd), path, report)
        return _opened(images.found, digests)

    async def _load_folder(
        self, found: tuple[Found, ...], folder: str, source: str, report: Listener
    ) -> tuple[Opened, ...]:
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _opened(found, await self._loader.load(found, in_folder(root), source, report))
        finally:
            os.close(root)

    async def _keep(self, done: Done, path: str, folder: Path, size: int) -> tuple[Opened, ...]:
        """Make an image of a root's archive."""
        now = time.time()
        image = Image(
            digest=done.digest,
            created_at=now,
            source=path,
            archive_size=size,
            layers=(done.diff_id,),
            config="",
        )
        async with self._shelf.holding(image.layers):
            await self._shelf.publish(folder, Unpacked(done, ()), now)
            self._shelf.add(image)
        return (Opened(image.digest),)

    @asynccontextmanager
    async def _alone(self, size: int) -> AsyncGenerator[None, None]:
        """Let only one archive of a size be unpacked at a time: the second may be a copy of the first."""
        lock, users = self._sizes.get(size, (trio.Lock(), 0))
        self._sizes[size] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._sizes[size]
            if users == 1:
                del self._sizes[size]
            else:
                self._sizes[size] = (lock, users - 1)


def _opened(found: tuple[Found, ...], digests: tuple[str, ...]) -> tuple[Opened, ...]:
    return tuple(Opened(digest, image.names) for image, digest in zip(found, digests, strict=True))


def _expect_one(found: tuple[Found, ...]) -> None:
    if len(found) > 1:
        names = ", ".join(name for each in found for name in each.names)
        raise ImageError(
            f"it holds {len(found)} images: {names:.200}", hint="`wherry load` it, and run one by its name"
        )


def _nobody(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror}", errno=error.errno) from error


def _expect_unchanged(fd: int, identity: Identity) -> None:
    if Identity.of(os.fstat(fd)) != identity:
        raise ImageError("the file changed while it was being read", hint="try again when it is complete")


async def _let_the_tick_pass(identity: Identity) -> None:
    """Wait until any later write must change the file's ctime, at most a tick."""
    age = time.time() - identity.ctime_ns / 1e9
    if age < _TICK:
        await trio.sleep(_TICK)


async def _hash(fd: int, size: int, report: Listener) -> str:
    sha256 = hashlib.sha256()
    done = 0

    def step() -> int:
        data = os.read(fd, _HASH_STEP)
        sha256.update(data)
        return len(data)

    while read := await trio.to_thread.run_sync(step):
        done += read
        report(done, size)
    return sha256.hexdigest()
