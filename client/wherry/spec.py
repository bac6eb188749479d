"""A run specification as the supervisor wants it: no path that depends on who asks.

Owns making paths absolute; must never check what the supervisor checks.
"""

from __future__ import annotations

import os

from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.run_spec import RunSpec


def absolute(spec: RunSpec) -> RunSpec:
    """Return the specification with `base_dir` filled in and volume sources that are paths made absolute.

    As docker has it: what has a slash, or a dot in front, is a path; else it is a volume's name.
    """
    base = os.path.abspath(spec.base_dir or os.getcwd())
    volumes = tuple(
        volume.replace(source=_under(base, volume.source)) if _is_relative(volume.source) else volume
        for volume in spec.volumes
    )
    return spec.replace(base_dir=base, volumes=volumes)


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return a path as it is, seen from the working directory."""
    return os.path.abspath(path)


def _is_relative(source: str) -> bool:
    return source.startswith(".") or ("/" in source and not source.startswith("/"))


def _under(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))
