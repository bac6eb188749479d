"""The layers on disk: one folder for each digest, whole or not there.

    images/                     0700: a layer holds setuid programs that other users must not reach
        tmp/<random>/           what is being made or removed
        layers/<digest>/        {root/, layer.json}: moved here by one rename when it is whole
        host/<fingerprint>/     see host.py

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.errors import KernelFailure
from wherryd.images import trees

if TYPE_CHECKING:
    from collections.abc import Iterator

_META = "layer.json"
_SETTLING = "settling.json"
_ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An unpacked archive. `digest` is in hex; `size` bytes on disk; `created_at` seconds since the epoch."""

    digest: str
    created_at: float
    size: int
    files: int
    archive_size: int
    source: str


class LayerStore:
    """The folder of layers, and what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"
        self._layers = root / "layers"
        self._known: dict[str, Layer] = {}
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
            if not (self._layers / layer.digest / _META).exists():
                self.settle(layer)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._known.values())

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def path(self, digest: str) -> str:
        """Return the layer's root directory."""
        return str(self._layers / digest / _ROOT)

    def get(self, digest: str) -> Layer:
        """Return what is known of a layer that is there."""
        return self._known[digest]

    def has_archive_size(self, size: int) -> bool:
        """Say whether some layer was made from an archive of this many bytes."""
        return any(layer.archive_size == size for layer in self._known.values())

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
        """Make the filled root directory visible under its digest; `settle` is to follow."""
        meta = json.dumps({"boot_id": _boot_id(), **asdict(layer)})
        (folder.parent / _SETTLING).write_text(meta)
        folder.parent.rename(self._layers / layer.digest)
        self._known[layer.digest] = layer

    def settle(self, layer: Layer) -> None:
        """Make a published layer durable: all of it, and then the file that says so. Raises KernelFailure."""
        folder = self._layers / layer.digest
        _sync_file_system(folder)
        if self._known.get(layer.digest) is not layer:
            return  # removed meanwhile, perhaps unpacked again: that one has a settling of its own
        trees.write_durably(folder / _META, json.dumps(asdict(layer)).encode())
        (folder / _SETTLING).unlink()

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


def _described(folder: Path, name: str, **expected: str) -> Layer | None:
    """Return what a layer's folder says it is; None if it cannot say, and so is to be unpacked again."""
    try:
        meta = json.loads((folder / name).read_bytes())
        if any(meta.pop(key) != value for key, value in expected.items()):
            return None
        layer = Layer(**meta)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return layer if layer.digest == folder.name and (folder / _ROOT).is_dir() else None


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
