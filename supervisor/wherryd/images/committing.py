"""A new image of one that is there, or of nothing, and one more layer.

Owns the order of steps and their clean-up. Never reads the layer's archive: a worker does.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

from wherry_protocol.errors import BadRequest
from wherryd.images import configs
from wherryd.images.broken import BrokenArchive
from wherryd.images.catalog import Image
from wherryd.images.extraction import LayerJob, extract_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherryd.images.flights import Listener
    from wherryd.images.shelf import Shelf


async def commit(
    shelf: Shelf,
    fd: int,
    base: Image | None,
    changes: Mapping[str, Any],
    history: Mapping[str, str],
    report: Listener,
) -> str:
    """Return the digest of the image of `base` and the layer whose archive comes out of `fd`.

    `changes` are fields of a config's `config`, `history` those of its last step.
    Raises BadRequest for a change that cannot be, ImageError, NoSpace, KernelFailure.
    """
    below = base.layers if base else ()
    config = base.config if base else ""
    _grown(config, (*below, "0" * 64), changes, history)  # what is wrong with it is said before the work
    folder = shelf.begin()
    try:
        async with shelf.holding(below):
            (layer,) = await extract_layers(
                [LayerJob(fd, 0, -1, folder, "the new layer")], lambda done: report(done, 0)
            )
            layers = (*below, layer.done.diff_id)
            async with shelf.holding(layers):
                await shelf.publish(folder, layer, time.time())
                image = _image(_grown(config, layers, changes, history), layers)
                shelf.add(image)
    finally:
        await shelf.discard(folder)
    return image.digest


def _grown(
    config: str, layers: tuple[str, ...], changes: Mapping[str, Any], history: Mapping[str, str]
) -> str:
    try:
        return configs.grown(config, layers, changes, history, os.uname().machine)
    except BrokenArchive as error:
        raise BadRequest(str(error)) from error


def _image(config: str, layers: tuple[str, ...]) -> Image:
    return Image(
        digest=hashlib.sha256(config.encode()).hexdigest(),
        created_at=time.time(),
        source="commit",
        archive_size=0,
        layers=layers,
        config=config,
    )
