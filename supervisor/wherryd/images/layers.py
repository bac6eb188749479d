"""The layers on disk: one folder for each digest, whole or not there.

    images/                     0700: a layer holds setuid programs that other users must not reach
        tmp/<random>/           what is being made or removed
        layers/<digest>/        {root/, layer.json, split.zst}: moved here by one rename when it is whole;
                                and `replaced`, if the archive had a file twice
        manifests/              see catalog.py
        host/<fingerprint>/     see host.py

`digest` is that of the layer's tar archive, uncompressed: OCI's diff id. split.zst is what the archive had
besides the files' contents (split.py), so that it can be written again byte for byte.

A layer is used as soon as it is whole, while the disk still writes it. Until that is done (`settle`) it has
`settling.json` in place of `layer.json`, which counts only in the boot that wrote it: a power cut leaves a
whole layer or none, and a crash of the supervisor takes no layer away from running containers.

Never interprets a reference, never unpacks. All calls block: long ones belong in a worker thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import KernelFailure
from wherryd.images import trees
from wherryd.kernel.paths import open_in_root

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

SPLIT, REPLACED = "split.zst", "replaced"
_META = "layer.json"
_SETTLING = "settling.json"
_ROOT = "root"
_OPAQUE = "trusted.overlay.opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An unpacked layer. `digest` is in hex; `size` bytes on disk; `created_at` seconds since the epoch.

    `tar_size` is the bytes of its archive, `repeatable` says that this can be written again. `bottom`: it
    hides every layer below. `first_image` is for layers of wherry 0.1, which were images at once: their
    archive's size and name.
    """

    digest: str
    created_at: float
    size: int
    files: int
    tar_size: int = 0
    repeatable: bool = False
    bottom: bool = False
    first_image: tuple[int, str] | None = None


class LayerStore:
    """The folder of layers, and what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"
        self._layers = root / "layers"
        self._known: dict[str, Layer] = {}
        self._held: Counter[str] = Counter()
        for folder in (root, self._tmp, self._layers):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)

    def recover(self) -> None:
        """Remove what an earlier supervisor left half made, and learn what is whole."""
        for leftover in self._tmp.iterdir():
            trees.remove_tree(leftover)
        self._known = {}
        for layer in self._read():
            self._known[layer.digest] = layer
        settling = [layer for layer in self if not self.settled(layer.digest)]
        if settling:
            self.settle(settling)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._known.values())

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    @property
    def folder(self) -> Path:
        """The folder that has a folder for each layer."""
        return self._layers

    def path(self, digest: str) -> str:
        """Return the layer's root directory."""
        return str(self._layers / digest / _ROOT)

    def get(self, digest: str) -> Layer:
        """Return what is known of a layer that is there."""
        return self._known[digest]

    @contextmanager
    def holding(self, digests: Iterable[str]) -> Generator[None]:
        """Keep layers, there or yet to come, that no image has so far."""
        held = tuple(digests)
        self._held.update(held)
        try:
            yield
        finally:
            self._held -= Counter(held)

    def unused(self, in_use: set[str]) -> tuple[str, ...]:
        """Return the layers that nobody holds and that are not `in_use`."""
        return tuple(digest for digest in self._known if digest not in in_use and digest not in self._held)

    def begin(self) -> Path:
        """Make an empty root directory to unpack into; it belongs to the caller until publish or discard."""
        folder = Path(tempfile.mkdtemp(dir=self._tmp)) / _ROOT
        try:
            folder.mkdir(mode=0o755)
        except OSError:
            folder.parent.rmdir()
            raise
        return folder

    def publish(self, folder: Path, layer: Layer) -> None:
        """Make the filled root directory visible under its digest; `settle` is to follow.

        If the same layer came another way meanwhile, that one stays, and this is to be discarded.
        """
        if layer.digest in self._known:
            return
        replaced = folder.parent / REPLACED
        if not replaced.stat().st_size:
            replaced.unlink()
        meta = json.dumps({"boot_id": _boot_id(), **asdict(layer)})
        (folder.parent / _SETTLING).write_text(meta)
        folder.parent.rename(self._layers / layer.digest)
        self._known[layer.digest] = layer

    def settle(self, layers: Iterable[Layer]) -> None:
        """Make published layers durable: all of them, then the files that say so. Raises KernelFailure."""
        _sync_file_system(self._layers)
        for layer in layers:
            folder = self._layers / layer.digest
            if self._known.get(layer.digest) is not layer:
                continue  # removed meanwhile, perhaps unpacked again: that one has a settling of its own
            trees.write_durably(folder / _META, json.dumps(asdict(layer)).encode())
            (folder / _SETTLING).unlink()

    def migrated(self, layer: Layer) -> None:
        """Remember that the image which a layer of wherry 0.1 was is written down on its own."""
        plain = Layer(digest=layer.digest, created_at=layer.created_at, size=layer.size, files=layer.files)
        aside = self._layers / layer.digest / "new.json"
        aside.unlink(missing_ok=True)
        trees.write_durably(aside, json.dumps(asdict(plain)).encode())
        aside.rename(aside.with_name(_META))
        self._known[layer.digest] = plain

    def settled(self, digest: str) -> bool:
        """Say whether a layer is durable."""
        return (self._layers / digest / _META).exists()

    def discard(self, folder: Path) -> None:
        """Remove a root directory that `begin` made, if it was not published."""
        trees.remove_tree(folder.parent)

    def take_out(self, digest: str) -> Path:
        """Make a layer vanish at once; the caller then removes the returned folder."""
        grave = Path(tempfile.mkdtemp(dir=self._tmp))
        os.rename(self._layers / digest, grave / digest)
        del self._known[digest]
        return grave

    def _read(self) -> Iterator[Layer]:
        for folder in self._layers.iterdir():
            layer = _described(folder, _META) or _described(folder, _SETTLING, boot_id=_boot_id())
            if layer is None:
                trees.remove_tree(folder)
            else:
                yield layer


def mark_opaque(folder: Path, paths: Iterable[bytes]) -> None:
    """Mark folders of a layer that is not in use yet: overlayfs shows nothing below them. May take long.

    Raises KernelFailure.
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in paths:
            fd = open_in_root(root, os.fsdecode(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.setxattr(fd, _OPAQUE, b"y")
            finally:
                os.close(fd)
    except OSError as error:
        raise KernelFailure(
            f"the layer's folders cannot be marked: {error}", errno=error.errno, path=str(folder)
        ) from error
    finally:
        os.close(root)


def _described(folder: Path, name: str, **expected: str) -> Layer | None:
    """Return what a layer's folder says it is; None if it cannot say, and so is to be unpacked again."""
    try:
        meta = json.loads((folder / name).read_bytes())
        if any(meta.pop(key) != value for key, value in expected.items()):
            return None
        layer = _layer(meta)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return layer if layer.digest == folder.name and (folder / _ROOT).is_dir() else None


def _layer(meta: dict[str, Any]) -> Layer:
    if "source" in meta:  # wherry 0.1
        meta["first_image"] = (meta.pop("archive_size"), meta.pop("source"))
    return Layer(**meta)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _sync_file_system(folder: Path) -> None:
    """syncfs(2), through the program that has no other task: one call for all the files of a layer."""
    done = subprocess.run(["sync", "--file-system", folder], check=False, capture_output=True)
    if done.returncode:
        raise KernelFailure(
            f"the new layer cannot be made durable: {done.stderr.decode(errors='replace').strip()}",
            path=str(folder),
        )
