"""How fast a root becomes an archive, beside GNU tar on the same tree and file system, interleaved.

    python tests/bench/archiving.py [--rounds N] [--folder DIR] [--source DIR …]

For each tree it prints the median seconds of `tar -cf`, of `tar --format=posix --xattrs -cf` (which keeps
what ours keeps), of our export through the client from its request to its answer, and the ratio of the first
to ours (1.0: as fast; to reach: 0.7). tar reads the image's directory; ours reads a running container's root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.busybox import make_directory
from support.daemon import Daemon

from wherry import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry import Client

_MANY_SMALL = ("usr/lib/python3", "usr/share/perl", "usr/share/doc")
_BIG = 256 << 20


def make_image(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return a directory image of busybox and something to archive."""
    image = make_directory(folder)
    fill(image)
    return image


def small(sources: list[str]) -> Callable[[Path], None]:
    """Fill an image with many small files."""
    return lambda image: (
        [
            shutil.copytree(Path("/", source), image / source, symlinks=True, dirs_exist_ok=True)
            for source in sources
        ]
        and None
    )


def big(image: Path) -> None:
    """Fill an image with one big file, half of it compressible."""
    with (image / "random").open("wb") as file:
        for _ in range(_BIG >> 20):
            file.write(os.urandom(1 << 19) + b"\1" * (1 << 19))


def measure(client: Client, image: Path, out: Path, rounds: int) -> str:
    """Return one line of the table."""
    made = client.run_detached(RunSpec(image=str(image), command=("sleep", "100000")))
    ways: dict[str, Callable[[], object]] = {
        "tar": lambda: subprocess.run(["tar", "-cf", out, "-C", image, "."], check=True),
        "tar-posix": lambda: subprocess.run(
            ["tar", "--format=posix", "--xattrs", "-cf", out, "-C", image, "."], check=True
        ),
        "ours": lambda: client.export(made.id, out),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            before = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - before)
            out.unlink()
    client.remove(made.id, force=True)
    tar, posix, ours = (statistics.median(times) for times in seconds.values())
    return (
        f"{image.name:6} tar {tar:6.3f} s  tar --format=posix --xattrs {posix:6.3f} s"
        f"  ours {ours:6.3f} s  ratio {tar / ours:4.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/var/tmp", help="a folder on the file system to measure")
    parser.add_argument(
        "--source", nargs="*", default=[path for path in _MANY_SMALL if Path("/", path).is_dir()]
    )
    options = parser.parse_args()
    daemon = Daemon(options.folder)
    try:
        daemon.start()
        with tempfile.TemporaryDirectory(dir=options.folder) as name, daemon.client() as client:
            for kind, fill in (("small", small(options.source)), ("big", big)):
                image = make_image(Path(name) / kind, fill)
                sys.stdout.write(f"{measure(client, image, Path(name) / 'out.tar', options.rounds)}\n")
                sys.stdout.flush()
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
