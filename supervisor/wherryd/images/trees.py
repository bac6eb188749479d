"""Whole trees on the disk: removal and durability. Never follows a symlink, whatever is in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; a folder that is not there is fine.

    Not shutil.rmtree: that holds a descriptor for each level, and an image decides how many there are.
    """
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for path in _emptied(root):
            os.rmdir(path, dir_fd=root)
    finally:
        os.close(root)
    folder.rmdir()


def _emptied(root: int) -> list[str]:
    """Unlink everything but folders, and return the folders, innermost first."""
    folders = [""]
    for folder in folders:  # grows while it runs
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}/{entry.name}".lstrip("/"))
                    else:
                        os.unlink(entry.name, dir_fd=fd)
        finally:
            os.close(fd)
    return folders[:0:-1]


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file; when this returns a power cut cannot take it away."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
