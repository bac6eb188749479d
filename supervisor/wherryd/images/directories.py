"""A directory as an image: used as it is, as the one lower layer. Never copies or changes it."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from wherry_protocol.errors import ImageError
from wherryd.images.reference import RootImage

if TYPE_CHECKING:
    from pathlib import Path


def is_layout(path: str) -> bool:
    """Say whether a directory holds images (an OCI layout, or an unpacked `docker save`) and is no root."""
    return os.path.isfile(index_of_layout(path)) and not any(
        os.path.lexists(os.path.join(path, name)) for name in ("bin", "usr", "etc")
    )


def index_of_layout(path: str) -> str:
    """Return the file that names a layout's images; there need be none."""
    index = os.path.join(path, "index.json")
    is_oci = os.path.isfile(os.path.join(path, "oci-layout")) and os.path.isfile(index)
    return index if is_oci else os.path.join(path, "manifest.json")


def directory_image(reference: str, path: str, state_dir: Path) -> RootImage:
    """Return the image of an existing directory. Raises ImageError if it cannot serve as a root."""
    real = _real_path(path)
    state = _real_state(os.fspath(state_dir))
    if real == "/":
        raise ImageError(
            "the host's root directory cannot be an image", hint="use the image 'host'", path=path
        )
    if f"{real}/".startswith(f"{state}/") or f"{state}/".startswith(f"{real}/"):
        raise ImageError(
            f"image {path}: it contains, or lies in, wherry's own state directory {state}", path=path
        )
    return RootImage(reference=reference, digest=None, layers=(real,))


def _real_path(path: str) -> str:
    """Return the path without links of a directory that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(
            f"image {path}: the directory cannot be read: {error.strerror}", errno=error.errno, path=path
        ) from error
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@cache
def _real_state(path: str) -> str:
    """Return the state directory without links: it is locked, and stays where it is."""
    return os.path.realpath(path)
