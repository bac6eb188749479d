"""Programs of Debian packages that are not installed: an installed server would start, and stay here.

apt chooses and fetches what it would install, as this machine's own configuration says, into a folder of
ours; it is unpacked there and used from there. Owns that folder. Must never install or configure anything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ground
from support.netns import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CACHE = Path("/var/cache/wherry-tests")
PATIENCE = 60.0
"""Seconds for the archive to send some megabytes."""

_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")
_LIBRARIES = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib", "lib")
_INSTALL = ("install", "--yes", "--reinstall", "--no-install-recommends")
_FILE = re.compile(r"^'[^']+' (\S+\.deb) \d+ ", re.MULTILINE)


class UnreachableError(Exception):
    """Why there are no packages, in one line."""


class Programs:
    """What some packages have, and what they need that this machine lacks: below `tree`."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def command(self, name: str, *args: str, at: str | None = None) -> tuple[str, ...]:
        """Return how a program of theirs is run, also where their tree is to be found elsewhere: `at`."""
        found = next(path for folder in _FOLDERS if os.path.lexists(path := self.tree / folder / name))
        folders = [
            each for pattern in _LIBRARIES for each in sorted(self.tree.glob(pattern)) if each.is_dir()
        ]
        top = at or str(self.tree)
        there = [os.path.join(top, each.relative_to(self.tree)) for each in (found, *folders)]
        return ("env", f"LD_LIBRARY_PATH={':'.join(there[1:])}", there[0], *args)


def programs(*packages: str) -> Programs:
    """Return packages' programs; skips the test, naming what is missing and why, where they cannot be had."""
    try:
        with _folder() as folder:
            return Programs(_unpacked(folder, packages))
    except UnreachableError as error:
        pytest.skip(f"Debian packages {' '.join(packages)}: {error}")


@contextmanager
def _folder() -> Iterator[Path]:
    """Have the folder for oneself."""
    CACHE.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(CACHE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in CACHE.glob("tmp*"):  # of a run that was killed
            shutil.rmtree(left)
        yield CACHE
    finally:
        os.close(descriptor)


def _unpacked(folder: Path, packages: Sequence[str]) -> Path:
    """Return where they are unpacked; what is there of other versions of theirs goes."""
    (folder / "archives").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as empty:  # apt names no file that it has
        files = sorted(_FILE.findall(_apt(empty, "--print-uris", *packages)))
    group = "-".join(packages)
    tree = folder / f"{group}.{hashlib.sha256(' '.join(files).encode()).hexdigest()[:16]}"
    if tree.is_dir():
        return tree
    for old in folder.glob(f"{group}.*"):
        shutil.rmtree(old)
    _apt(str(folder / "archives"), "--download-only", *packages)
    fresh = Path(tempfile.mkdtemp(dir=folder))
    try:
        for name in files:
            subprocess.run(["dpkg-deb", "-x", folder / "archives" / name, fresh], check=True)
        fresh.chmod(0o755)
        fresh.rename(tree)
    except BaseException:
        shutil.rmtree(fresh)
        raise
    for name in files:
        (folder / "archives" / name).unlink()
    return tree


def _apt(archives: str, *args: str) -> str:
    options = {
        "Dir::Cache::archives": f"{archives}/",
        "Debug::NoLocking": "1",  # nothing of the machine's is changed
        "Acquire::Retries": "0",
        "Acquire::http::Timeout": "15",
    }
    command = ["apt-get", *(f"-o{name}={value}" for name, value in options.items()), *_INSTALL, *args]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        with Place(ground.open_outside()) as outside:
            done = outside.call(
                lambda: subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
                )
            )
    except FileNotFoundError:
        raise UnreachableError("there is no apt-get here") from None
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"the archive did not send them within {PATIENCE:.0f} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise UnreachableError(f"{said[0] if said else done.stderr.strip()} (apt-get update first?)")
    return done.stdout
