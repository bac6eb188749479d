"""The volumes on disk: a directory each, made, filled, found, removed.

    volumes/                0700
        NAME/_data/         what containers mount
        NAME/_filling/      what becomes _data by one rename, once it is whole

The one entrance to this package for the rest of the supervisor; used from its trio thread only. Who mounts a
volume is the containers' affair: callers say so.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import trio

from wherry_protocol.container_state import MountPoint
from wherry_protocol.errors import BadRequest, Conflict, KernelFailure, NoSpace, NotFound, WherryError
from wherryd import journal
from wherryd.containers.mountpoints import bind, no_nul
from wherryd.containers.names import NAME
from wherryd.volumes.fill import fill, worth_filling
from wherryd.volumes.known import Known, KnownVolumes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from wherry_protocol.run_spec import Volume
    from wherryd.containers.trash import Trash
    from wherryd.images.reference import RootImage

_DATA, _FILLING = "_data", "_filling"
_FULL = (28, 30, 122)
"""ENOSPC, EROFS, EDQUOT."""

LOOK_TIMEOUT = 5.0
"""Seconds for a look into a volume and an image: they may be on a file system that does not answer."""


class VolumeStore:
    """Volumes under `root`; their records in `database` (autocommit). `mountpoint` is an empty directory.

    `tell` hears (action, name) of what is made and removed.
    """

    def __init__(
        self,
        root: Path,
        database: sqlite3.Connection,
        *,
        trash: Trash,
        mountpoint: Path,
        tell: Callable[[str, str], None],
    ) -> None:
        self._root = root
        self._known = KnownVolumes(database)
        self._trash = trash
        self._mountpoint = mountpoint
        self._tell = tell

    def recover(self) -> None:
        """Take away what was left half made or half removed. Call once, before anything else."""
        for entry in os.scandir(self._root):
            if self._known.get(entry.name) is None:
                self._discard(self._root / entry.name)
            else:
                self._discard(self._root / entry.name / _FILLING)

    def __iter__(self) -> Generator[Known]:
        """Iterate over what is known of each volume, by name."""
        yield from self._known

    def get(self, name: str) -> Known | None:
        """Return what is known of the volume of this name."""
        return self._known.get(name)

    def find(self, name: str) -> Known:
        """As `get`. Raises NotFound."""
        volume = self._known.get(name)
        if volume is None:
            raise NotFound(f"no volume {name[:130]}", hint="see 'wherry volume ls'")
        return volume

    def path(self, name: str) -> Path:
        """Return the directory that containers mount."""
        return self._root / name / _DATA

    def create(self, name: str | None, labels: Mapping[str, str], *, anonymous: bool = False) -> Known:
        """Make an empty volume; one that exists is returned as it is. Raises BadRequest, NoSpace."""
        name = name or new_name()
        volume = self._known.get(name) or self._make(name, labels, anonymous=anonymous)
        try:
            self._record(volume)
        except BaseException:
            if not volume.pins:
                self._drop(volume)
            raise
        return volume

    def _make(self, name: str, labels: Mapping[str, str], *, anonymous: bool) -> Known:
        """Make a volume that is there for the time being."""
        _check(name, labels)
        try:
            self.path(name).mkdir(parents=True, mode=0o755)
            (self._root / name).chmod(0o700)
        except OSError as error:
            self._discard(self._root / name)
            raise _failure(error, self.path(name)) from error
        volume = Known(name=name, created_at=time.time(), labels=dict(labels), anonymous=anonymous)
        self._known.add(volume)
        return volume

    def _record(self, volume: Known) -> None:
        if not volume.recorded:
            self._known.record(volume)
            self._tell("create", volume.name)

    def _drop(self, volume: Known) -> None:
        self._known.forget(volume)
        self._discard(self._root / volume.name)

    def remove(self, name: str, users: Sequence[str]) -> None:
        """Remove a volume. Raises NotFound, Conflict naming a container that has it, NoSpace."""
        volume = self.find(name)
        if users:
            raise Conflict(
                f"volume {name} is used by container {', '.join(users)}", hint="remove the container first"
            )
        if volume.pins:
            raise Conflict(f"volume {name} is about to be used by a new container", hint="try again")
        self._drop(volume)
        self._tell("destroy", name)

    async def provide(
        self, wanted: Sequence[Volume], image: RootImage, in_use: Callable[[str], bool]
    ) -> tuple[tuple[MountPoint, ...], tuple[str, ...]]:
        """Make what a new container is to mount; return the mounts, and the names of volumes made for it.

        Empty volumes that nobody has mounted (`in_use`) are filled from the image. When this fails or is
        cancelled, what it made is removed. Raises NoSpace, KernelFailure, ImageError.
        """
        made: list[str] = []
        with ExitStack() as pins:
            try:
                mounts = [self._hold(each, pins, made) for each in wanted]
                for mount, each in zip(mounts, wanted, strict=True):
                    if mount.name is not None and each.copy:
                        async with self.find(mount.name).filling:
                            await self._fill(mount.name, image, mount.target, in_use)
                for mount in mounts:
                    if mount.name is not None:
                        self._record(self.find(mount.name))
            except BaseException:
                pins.close()
                self.withdraw(made)
                raise
        return tuple(mounts), tuple(made)

    def _hold(self, wanted: Volume, pins: ExitStack, made: list[str]) -> MountPoint:
        """Return the mount of a host path, or of a volume that is there and stays until `pins` is closed."""
        if wanted.source.startswith("/"):
            return bind(wanted)
        name = wanted.source or new_name()
        if self._known.get(name) is None:
            self._make(name, wanted.labels, anonymous=not wanted.source)
            made.append(name)
        pins.enter_context(self._pinned(name))
        return self._mount(name, wanted)

    def preview(self, wanted: Sequence[Volume]) -> tuple[MountPoint, ...]:
        """Return the mounts that `provide` would, with nothing made."""
        return tuple(
            bind(each) if each.source.startswith("/") else self._mount(each.source or new_name(), each)
            for each in wanted
        )

    def withdraw(self, made: Sequence[str]) -> None:
        """Remove volumes that were made for a container that did not come to be."""
        for name in made:
            try:
                self.remove(name, ())
            except WherryError as error:
                # Another container wants it meanwhile, or the disk is full: an empty volume stays.
                journal.debug("volume stays", name=name, error=error)

    def _mount(self, name: str, wanted: Volume) -> MountPoint:
        return MountPoint(
            type="volume",
            name=name,
            source=str(self.path(name)),
            target=wanted.target,
            read_only=wanted.read_only,
        )

    async def _fill(self, name: str, image: RootImage, target: str, in_use: Callable[[str], bool]) -> None:
        data, filling = self.path(name), self._root / name / _FILLING
        try:
            data.mkdir(mode=0o755, parents=True, exist_ok=True)  # also when somebody took it away by hand
            if in_use(name) or not await _answer(worth_filling, data, image, target):
                return
            filling.mkdir(mode=0o755)
            if await fill(filling, image, target, self._mountpoint) and not in_use(name):
                _replace_if_empty(data, filling)
        except OSError as error:
            raise _failure(error, data) from error
        finally:
            self._discard(filling)

    @contextmanager
    def _pinned(self, name: str) -> Generator[None]:
        volume = self.find(name)
        volume.pins += 1
        try:
            yield
        finally:
            volume.pins -= 1
            if not volume.pins and not volume.recorded:
                self._drop(volume)

    def _discard(self, directory: Path) -> None:
        """Move a directory out of sight; nothing happens when it is not there."""
        self._trash.take(directory, f"volume-{secrets.token_hex(8)}")


def _replace_if_empty(data: Path, filled: Path) -> None:
    """Put the filled directory in place; what a container left in the other one meanwhile stays."""
    try:
        filled.rename(data)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


async def _answer(look: Callable[..., bool], *args: object) -> bool:
    with trio.move_on_after(LOOK_TIMEOUT):
        return await trio.to_thread.run_sync(look, *args, abandon_on_cancel=True)
    raise KernelFailure(f"volume {args[0]}: the file system did not answer in {LOOK_TIMEOUT:.0f} s")


def new_name() -> str:
    """Return the name of an anonymous volume: 64 hex digits, as docker's."""
    return secrets.token_hex(32)


def _check(name: str, labels: Mapping[str, str]) -> None:
    if NAME.fullmatch(name) is None:
        raise BadRequest(
            f"volume name {name[:130]!r} is not allowed",
            hint="a letter or digit, then letters, digits, '_', '.' or '-', at most 128 in all",
        )
    for key, value in labels.items():
        if not key:
            raise BadRequest("label: the key is empty", hint="write KEY or KEY=value")
        no_nul(key + value, "label")


def _failure(error: OSError, path: Path) -> WherryError:
    kind = NoSpace if error.errno in _FULL else KernelFailure
    where = str(error.filename or path)
    return kind(f"volume in {path}: {where}: {error.strerror}", errno=error.errno, path=where)
