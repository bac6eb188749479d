"""How fast an image archive is loaded, beside GNU tar on the same layers and file system, interleaved.

    python tests/bench/loading.py [--rounds N] [--folder DIR] [--layers N] [--source DIR …]

Each source becomes a layer; further layers are small. It prints the median seconds of `tar -xpf` of each
layer, one after the other, of a load into an empty store, and their ratio (1.0: as fast; to reach: 0.7), for
plain and for compressed layers; then of a save, beside `cat` of the layers. Nothing is followed by a sync.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.imagekit import Built, layer, member, oci, pack

from wherryd.images.store import ImageStore

_SOURCES = ("usr/lib/python3", "usr/share/perl", "usr/share/doc")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="on the file system to measure")
    parser.add_argument(
        "--source", nargs="*", default=[path for path in _SOURCES if Path("/", path).is_dir()]
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        image = Built(
            [*map(packed, options.source), *map(small, range(options.layers - len(options.source)))]
        )
        for kind in ("plain", "gzip"):
            archive = folder / f"{kind}.tar"
            archive.write_bytes(pack(oci(image, compress=kind == "gzip")))
            with tempfile.TemporaryDirectory(dir=folder) as blobs:
                layers = blobs_of(image, Path(blobs), compress=kind == "gzip")
                sys.stdout.write(measure(kind, archive, layers, folder, options.rounds) + "\n")
                sys.stdout.flush()
        sys.stdout.write(measure_save(folder / "plain.tar", folder, options.rounds) + "\n")


def packed(source: str) -> bytes:
    """Return a directory's tar."""
    return subprocess.run(["tar", "-c", "-C", "/", source], check=True, capture_output=True).stdout


def small(number: int) -> bytes:
    """Return a layer as a build step makes it."""
    return layer(member(f"etc/step{number}", b"x" * 1000))


def blobs_of(image: Built, folder: Path, *, compress: bool) -> list[Path]:
    """Return the image's layers, as they are in the archive, as files."""
    paths = [folder / str(number) for number in range(len(image.layers))]
    for path, data in zip(paths, image.layers, strict=True):
        path.write_bytes(gzip.compress(data, 1, mtime=0) if compress else data)
    return paths


def measure(kind: str, archive: Path, layers: list[Path], folder: Path, rounds: int) -> str:
    """Return one line of the table."""
    tar: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as target:
            before = time.perf_counter()
            for number, blob in enumerate(layers):
                os.mkdir(f"{target}/{number}")
                subprocess.run(["tar", "-xpf", blob, "-C", f"{target}/{number}"], check=True)
            tar.append(time.perf_counter() - before)
        ours.append(trio.run(load_once, archive, folder))
    return line(f"load, {kind}", "tar", tar, ours)


def line(what: str, other: str, theirs: list[float], ours: list[float]) -> str:
    """Return a line about two lists of seconds."""
    one, two = statistics.median(theirs), statistics.median(ours)
    return f"{what:12} {other} {one:6.3f} s  ours {two:6.3f} s  ratio {one / two:4.2f}"


def new_store(folder: Path) -> ImageStore:
    """Return an empty store."""
    store = ImageStore(folder / "images", sqlite3.connect(":memory:", isolation_level=None))
    store.recover()
    return store


async def load_once(archive: Path, folder: Path) -> float:
    """Return the seconds of a load into a new store, which is removed."""
    store = new_store(folder)
    before = time.perf_counter()
    (image,) = await store.load(str(archive))
    took = time.perf_counter() - before
    await store.remove(image.digest, force=True, in_use=lambda _: None)
    shutil.rmtree(folder / "images")
    return took


def measure_save(archive: Path, folder: Path, rounds: int) -> str:
    """Return the line about saving."""
    return trio.run(_measure_save, archive, folder, rounds)


async def _measure_save(archive: Path, folder: Path, rounds: int) -> str:
    store = new_store(folder)
    (image,) = await store.load(str(archive))
    cat: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        with (folder / "copy").open("wb") as out:
            before = time.perf_counter()
            subprocess.run(["cat", archive], stdout=out, check=True)
            cat.append(time.perf_counter() - before)
        with (folder / "saved").open("wb") as out:
            before = time.perf_counter()
            await store.save([image.digest], out.fileno())
            ours.append(time.perf_counter() - before)
    return line("save", "cat", cat, ours)


if __name__ == "__main__":
    main()
