"""How fast an archive becomes a layer, beside GNU tar on the same archive and file system, interleaved.

    python tests/bench/extraction.py [--rounds N] [--folder DIR] [--source DIR …]

For each archive it prints the median seconds of `tar -xpf`, of our worker from its start to its end, and
their ratio (1.0: as fast; to reach: 0.7); then the processor time of both. Neither is followed by a sync.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from wherryd.images.extraction import extract

_MANY_SMALL = ("usr/lib/python3", "usr/share/perl", "usr/share/doc")
_BIG = 256 << 20


def tar_once(archive: Path, target: Path) -> None:
    """Unpack as an administrator would."""
    subprocess.run(["tar", "-xpf", archive, "-C", target], check=True)


def ours_once(archive: Path, target: Path) -> None:
    """Unpack as the store does."""
    fd = os.open(archive, os.O_RDONLY)
    try:
        trio.run(extract, fd, target, lambda _: None)
    finally:
        os.close(fd)


def measure(archive: Path, folder: Path, rounds: int) -> str:
    """Return one line of the table."""
    seconds: dict[str, list[float]] = {"tar": [], "ours": []}
    cpu: dict[str, float] = {"tar": 0.0, "ours": 0.0}
    for _ in range(rounds):
        for name, once in (("tar", tar_once), ("ours", ours_once)):
            target = folder / name / "root"
            target.mkdir(parents=True)
            used, before = children_cpu(), time.perf_counter()
            once(archive, target)
            seconds[name].append(time.perf_counter() - before)
            cpu[name] += children_cpu() - used
            shutil.rmtree(target.parent)
    tar, ours = (statistics.median(seconds[name]) for name in ("tar", "ours"))
    return (
        f"{archive.name:16} tar {tar:6.3f} s  ours {ours:6.3f} s  ratio {tar / ours:4.2f}"
        f"   cpu: tar {cpu['tar'] / rounds:6.3f} s  ours {cpu['ours'] / rounds:6.3f} s"
    )


def children_cpu() -> float:
    """Return the processor time that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_archives(folder: Path, sources: list[str]) -> list[Path]:
    """Return many small files and one big file, both plain and compressed."""
    small, big = folder / "small.tar", folder / "big.tar"
    subprocess.run(["tar", "-cf", small, "-C", "/", *sources], check=True)
    with (folder / "random").open("wb") as file:
        for _ in range(_BIG >> 20):
            file.write(os.urandom(1 << 19) + bytes(1 << 19))
    subprocess.run(["tar", "-cf", big, "-C", folder, "random"], check=True)
    (folder / "random").unlink()
    for archive in (small, big):
        subprocess.run(["gzip", "-k", "-1", archive], check=True)
    return [small, big, Path(f"{small}.gz"), Path(f"{big}.gz")]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", default=tempfile.gettempdir(), help="a folder on the file system to measure"
    )
    parser.add_argument(
        "--source", nargs="*", default=[path for path in _MANY_SMALL if Path("/", path).is_dir()]
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for archive in make_archives(folder, options.source):
            sys.stdout.write(f"{measure(archive, folder, options.rounds)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
