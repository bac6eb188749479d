"""A small disk of a test's own: a loop device with a file system, whose I/O the kernel can schedule."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 48 << 20


@dataclass(frozen=True, kw_only=True)
class LoopDisk:
    """`name` is the kernel's (loop0), `number` its "major:minor", `mounted` where its file system is."""

    name: str
    number: str
    mounted: Path

    @property
    def scheduler(self) -> Path:
        return Path(f"/sys/block/{self.name}/queue/scheduler")


@contextmanager
def loop_disk(folder: Path) -> Iterator[LoopDisk]:
    """Make a disk of a file in a folder, past whose page cache it reads and writes."""
    file, mounted = folder / "disk", folder / "mounted"
    with file.open("wb") as made:
        made.truncate(SIZE)
    load_module("loop")
    if not Path("/dev/loop-control").exists():
        pytest.skip("no loop devices: there is no /dev/loop-control")
    _run("busybox", "mke2fs", "-F", str(file))
    device = _run("losetup", "--show", "--find", str(file)).strip()
    try:
        # Not every file system below has it; what is in the page cache is a very fast disk then.
        subprocess.run(["losetup", "--direct-io=on", device], check=False, capture_output=True)
        mounted.mkdir()
        _run("mount", "-t", "ext4", device, str(mounted))
        try:
            name = Path(device).name
            number = Path(f"/sys/block/{name}/dev").read_text(encoding="ascii").strip()
            yield LoopDisk(name=name, number=number, mounted=mounted)
        finally:
            _run("umount", str(mounted))
    finally:
        _run("losetup", "--detach", device)


def load_module(name: str) -> None:
    """Load a part of the kernel where it is a module, and is not there yet."""
    subprocess.run(["busybox", "modprobe", "-q", name], check=False, capture_output=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
