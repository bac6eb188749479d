"""The `host` image: the machine's own /usr, read-only, on a skeleton of a root that is made once.

Owns `images/host/<fingerprint>/`. A skeleton is never changed: other inputs give another fingerprint, and so
another skeleton beside the old one, which containers may still be running on.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import trio

from wherry_protocol.errors import NoSpace, Unsupported
from wherryd.images import host_etc, trees
from wherryd.images.names import HOST
from wherryd.images.reference import ImageConfig, RootImage

_VERSION = 1  # raise it when a skeleton is made in another way
_LARGEST = 4 << 20  # bytes; what is copied is small, and a file that is not is not what we mean
_INPUTS = tuple(f"/{name}" for name in host_etc.MERGED) + tuple(f"/etc/{name}" for name in host_etc.COPIED)


class HostImage:
    """The skeletons below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inputs: tuple[tuple[int, ...], ...] = ()
        self._image: RootImage | None = None
        self._lock = trio.Lock()

    async def image(self) -> RootImage:
        """Return the image, with a new skeleton if an input has changed. Raises Unsupported, NoSpace."""
        inputs = _look()
        if self._image is not None and inputs == self._inputs:
            return self._image
        async with self._lock:
            try:
                self._image = await trio.to_thread.run_sync(self._prepare, inputs)
            except OSError as error:
                raise NoSpace(
                    f"the host image cannot be made in {self._folder}: {error.strerror}",
                    errno=error.errno,
                    path=str(self._folder),
                ) from error
            self._inputs = inputs
        return self._image

    def recover(self) -> None:
        """Remove skeletons that were not finished."""
        for folder in self._folder.glob("tmp-*"):
            trees.remove_tree(folder)

    def _prepare(self, inputs: tuple[tuple[int, ...], ...]) -> RootImage:
        binds = tuple(f"/{name}" for name in ("usr", *host_etc.MERGED) if _is_folder(f"/{name}"))
        if "/usr" not in binds or not _is_folder("/usr/bin"):
            raise Unsupported("this machine has no /usr/bin, which the image 'host' is made of")
        fingerprint = hashlib.sha256(repr((_VERSION, inputs, binds)).encode()).hexdigest()[:32]
        skeleton = self._folder / fingerprint
        if not skeleton.is_dir():
            self._make(skeleton)
        return RootImage(
            reference=HOST,
            digest=None,
            layers=(str(skeleton),),
            binds=tuple((path, path) for path in binds),
            config=ImageConfig(cmd=("/bin/sh",)),
        )

    def _make(self, skeleton: Path) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=self._folder))
        try:
            _fill(folder)
            folder.chmod(0o755)
            folder.rename(skeleton)
        except BaseException:
            trees.remove_tree(folder)
            raise


def _look() -> tuple[tuple[int, ...], ...]:
    """Return the state of every input: a file that is replaced in a folder changes the folder's mtime."""
    return tuple(_state(path) for path in _INPUTS)


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.lstat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode) if os.path.lexists(path) else False


def _fill(root: Path) -> None:
    for name, mode in host_etc.FOLDERS:
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name in host_etc.MERGED:
        source = Path("/", name)
        if source.is_symlink():
            (root / name).symlink_to(source.readlink())
        elif source.is_dir():
            (root / name).mkdir(mode=0o755)
    for name, target in host_etc.LINKS:
        (root / name).symlink_to(target)
    for name in host_etc.COPIED:
        _copy(Path("/etc", name), root / "etc" / name)
    for name, text in host_etc.MADE.items():
        (root / "etc" / name).write_text(text)
        (root / "etc" / name).chmod(0o644)


def _copy(source: Path, target: Path) -> None:
    """Copy what every user may read; leave out what is not there, or not theirs to read."""
    try:
        found = source.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if stat.S_ISLNK(found.st_mode):
        target.symlink_to(source.readlink())
    elif not found.st_mode & stat.S_IROTH:
        return
    elif stat.S_ISDIR(found.st_mode):
        target.mkdir(mode=0o755)
        for child in sorted(source.iterdir()):
            _copy(child, target / child.name)
        os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))
    elif stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST:
        target.write_bytes(source.read_bytes())
        target.chmod(found.st_mode & 0o755)
        os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))
