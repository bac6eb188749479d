"""What is mounted here: another worker's tests mount and unmount beside us, each below its own folders."""

from __future__ import annotations

import tempfile
from pathlib import Path

FOLDERS = (tempfile.gettempdir(), "/var/tmp")
"""Where tests have theirs."""


def mounted(own: Path) -> list[str]:
    """Return the lines of this mount namespace's mountinfo, less those below folders of other tests."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if f"{own}/" in line or not _is_below(line.split(" ")[4])]


def _is_below(mountpoint: str) -> bool:
    return any(mountpoint.startswith(f"{folder}/") for folder in FOLDERS)
