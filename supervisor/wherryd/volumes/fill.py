"""The supervisor's side of filling a new volume from an image: is it worth a process, and asking that one.

Never copies anything itself.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wherryd import helper
from wherryd.kernel.errors import KernelError
from wherryd.kernel.paths import open_in_root

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.images.reference import RootImage

FILL_TIMEOUT = 600.0
"""Seconds for copying an image's directory into a volume."""

_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def worth_filling(data: Path, image: RootImage, target: str) -> bool:
    """Say whether a volume is empty and the image may have a directory for it. May block: a thread's work."""
    layer = image.layers[0]
    with os.scandir(data) as entries:
        if next(entries, None) is not None:
            return False
    if len(image.layers) > 1 or any(_touches(target, bound) for _, bound in image.binds):
        return True  # what the layers come to together, only a mount of them can say
    root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_in_root(root, target, os.O_PATH | os.O_DIRECTORY))
    except KernelError as error:
        return error.errno not in _NOTHING_THERE
    finally:
        os.close(root)
    return True


def _touches(target: str, bound: str) -> bool:
    return f"{target}/".startswith(f"{bound}/") or f"{bound}/".startswith(f"{target}/")


async def fill(folder: Path, image: RootImage, target: str, mountpoint: Path) -> bool:
    """Copy the image's directory at `target` into the empty `folder`; False when the image has none.

    `mountpoint` is an empty directory, to mount on where nobody sees it. Raises NoSpace, KernelFailure,
    InternalError, and then the folder may be half full.
    """
    question = {
        "folder": str(folder), "layers": image.layers, "binds": image.binds, "target": target,
        "mountpoint": str(mountpoint),
    }  # fmt: skip
    what = f"volume for {target}: filling it from image {image.reference}"
    answer = await helper.ask("wherryd.volumes.filler", question, what=what, timeout=FILL_TIMEOUT)
    return bool(answer["filled"])
