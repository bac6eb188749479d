"""What an image reference became: read-only directories and binds, and what the image says about running.

Owns values only. Never touches the disk, and imports nothing heavy: the plan builder needs it too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about running it, in the OCI image-spec's terms; `env` holds "K=V"."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str | None = None
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """A root file system that is ready to be mounted.

    `reference` is what the user wrote. `digest` is "sha256:…" of the archive as it is, None for
    directories and `host`. `layers` are absolute directories, topmost first (overlayfs lowerdir order).
    `binds` are (source, target) pairs to bind read-only on top.
    """

    reference: str
    digest: str | None
    layers: tuple[str, ...]
    binds: tuple[tuple[str, str], ...] = ()
    config: ImageConfig = ImageConfig()
