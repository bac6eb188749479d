"""What an image reference became: read-only directories and binds, and what the image says about running.

Owns values only. Never touches the disk, and imports nothing heavy: the plan builder needs it too.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a field's annotation, which dataclasses look at
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How an image wants to be asked whether it works.

    `test` is ("NONE",), ("CMD", argument, …) or ("CMD-SHELL", command). Times are in seconds; 0, and
    `retries` 0, mean that the image does not say.
    """

    test: tuple[str, ...]
    interval: float = 0.0
    timeout: float = 0.0
    start_period: float = 0.0
    start_interval: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about running it, in the OCI image-spec's terms.

    `env` holds "K=V", `exposed_ports` "80/tcp", `volumes` absolute paths. `shell` () is /bin/sh -c.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str | None = None
    shell: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    healthcheck: Healthcheck | None = None


_LISTS = ("entrypoint", "cmd", "env", "shell", "exposed_ports", "volumes")


def config_from_json(data: dict[str, Any]) -> ImageConfig:
    """Return what dataclasses.asdict made of a config, after JSON has made lists of its tuples."""
    fields: dict[str, Any] = {**data, **{key: tuple(data[key]) for key in _LISTS}}
    health: dict[str, Any] | None = data["healthcheck"]
    if health is not None:
        health = {**health, "test": tuple(health["test"])}
        fields["healthcheck"] = Healthcheck(**health)
    return ImageConfig(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """A root file system that is ready to be mounted.

    `reference` is what the user wrote. `digest` is "sha256:…" of the image's config, or of a plain archive
    as it is; None for directories and `host`. `layers` are absolute directories, topmost first (overlayfs
    lowerdir order). `binds` are (source, target) pairs to bind read-only on top.
    """

    reference: str
    digest: str | None
    layers: tuple[str, ...]
    binds: tuple[tuple[str, str], ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)
