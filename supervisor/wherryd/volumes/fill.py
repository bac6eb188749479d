"""The supervisor's side of filling a new volume from an image: is it worth a process, and asking that one.

Never copies anything itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherryd import helper
from wherryd.kernel.paths import leads_somewhere

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.images.reference import RootImage

FILL_TIMEOUT = 600.0
"""Seconds for copying an image's directory into a volume."""


def worth_filling(data: Path, image: RootImage, target: str) -> bool:
    """Say whether a volume is empty and the image may have a directory for it. May block: a thread's work."""
    with os.scandir(data) as entries:
        if next(entries, None) is not None:
            return False
    # What is at the target, if there are no links, lies at that path in one of the layers.
    bound = any(_touches(target, place) for _, place in image.binds)
    return bound or any(_leads_somewhere(layer, target) for layer in image.layers)


def _leads_somewhere(layer: str, target: str) -> bool:
    root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return leads_somewhere(root, target)
    finally:
        os.close(root)


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
