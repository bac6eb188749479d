"""From an archive file to its layer: hashed and unpacked in one reading, once, however many ask.

Owns the order of steps and their clean-up. Never parses the archive: the worker does.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import ImageError, KernelFailure, NoSpace, WherryError
from wherryd import journal
from wherryd.images.extraction import extract
from wherryd.images.flights import Flights, Listener
from wherryd.images.known import Identity, Known
from wherryd.images.layers import Layer, LayerStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

_TICK = 0.02  # seconds; a file's ctime has the resolution of the kernel's tick, 10 ms at most
_HASH_STEP = 8 << 20


class Archives:
    """Finds or makes the layer of an archive file."""

    def __init__(self, layers: LayerStore, known: Known) -> None:
        self._layers = layers
        self._known = known
        self._flights: Flights[str] = Flights()
        self._sizes: dict[int, tuple[trio.Lock, int]] = {}

    async def digest(self, path: str, found: os.stat_result, listener: Listener | None) -> str:
        """Return the digest of the archive at `path`, whose layer is in the store when this returns.

        Raises ImageError, NoSpace, KernelFailure.
        """
        identity = Identity.of(found)
        digest = self._known.digest_of_file(path, identity)
        if digest is None:

            async def job(report: Listener) -> str:
                return await self._obtain(path, identity, report)

            digest = await self._flights.join(identity, job, listener)
            self._known.remember_file(path, identity, digest)
        return digest

    async def _obtain(self, path: str, identity: Identity, report: Listener) -> str:
        fd = _open(path)
        try:
            await _let_the_tick_pass(identity)
            async with self._alone(identity.size):
                digest = await self._find_or_make(path, fd, identity, report)
        except WherryError as error:
            raise type(error)(
                f"image {path}: {error.message}", hint=error.hint, errno=error.errno, path=path
            ) from error
        finally:
            os.close(fd)
        return digest

    async def _find_or_make(self, path: str, fd: int, identity: Identity, report: Listener) -> str:
        _expect_unchanged(fd, identity)
        if self._layers.has_archive_size(identity.size):
            # most likely a copy of an archive that was unpacked already: reading it is cheaper than that
            digest = await _hash(fd, identity.size, report)
            _expect_unchanged(fd, identity)
            if digest in self._layers:
                return digest
            os.lseek(fd, 0, os.SEEK_SET)
        return await self._make(path, fd, identity, report)

    async def _make(self, path: str, fd: int, identity: Identity, report: Listener) -> str:
        with _no_space(self._layers.root):
            folder = self._layers.begin()
        try:
            made = await extract(fd, folder, lambda done: report(done, identity.size))
            _expect_unchanged(fd, identity)
            layer = Layer(
                digest=made.digest,
                created_at=time.time(),
                size=made.size,
                files=made.entries,
                archive_size=identity.size,
                source=path,
            )
            with _no_space(self._layers.root):
                self._layers.publish(folder, layer)
            trio.lowlevel.spawn_system_task(self._settle, layer, name=f"settle {layer.digest}")
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._layers.discard, folder)
        return made.digest

    async def _settle(self, layer: Layer) -> None:
        """Wait for the disk; what is cut short here is done at the next start."""
        try:
            await trio.to_thread.run_sync(self._layers.settle, layer, abandon_on_cancel=True)
        except (OSError, KernelFailure) as error:
            if layer.digest in self._layers:  # else it was removed meanwhile
                journal.warning("image is not durable yet", digest=layer.digest, error=error)

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


@contextmanager
def _no_space(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise NoSpace(
            f"{folder} cannot be written: {error.strerror}", errno=error.errno, path=str(folder)
        ) from error
