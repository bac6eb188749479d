"""A run specification as the supervisor wants it: no path that depends on who asks.

Owns making paths absolute; must never check what the supervisor checks.
"""

from __future__ import annotations

import os

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.containers import RunSpec


def absolute(spec: RunSpec) -> RunSpec:
    """Return the specification with `base_dir` filled in and volume sources made absolute."""
    base = os.path.abspath(spec.base_dir or os.getcwd())
    volumes = tuple(
        volume if volume.source.startswith("/") else volume.replace(source=_under(base, volume.source))
        for volume in spec.volumes
    )
    return spec.replace(base_dir=base, volumes=volumes)


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return a path as it is, seen from the working directory."""
    return os.path.abspath(path)


def _under(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))
