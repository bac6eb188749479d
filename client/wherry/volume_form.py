"""Volumes and mounts in docker's field names.

Owns the wording; pure: must never ask the supervisor or the clock.
"""

from __future__ import annotations

from wherry.rfc3339 import rfc3339_seconds
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wherry_protocol.container_state import MountPoint
    from wherry_protocol.run_spec import Tmpfs, Volume
    from wherry_protocol.volumes import VolumeSummary


def volume_row(volume: VolumeSummary) -> dict[str, Any]:
    """Return a row of `volume ls`."""
    return {
        "Driver": "local",
        "Labels": ",".join(f"{key}={value}" for key, value in volume.labels.items()),
        "Links": len(volume.users),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
    }


def volume_document(volume: VolumeSummary) -> dict[str, Any]:
    """Return the document of `volume inspect`; `UsedBy` and `Anonymous` are wherry's own."""
    return {
        "CreatedAt": rfc3339_seconds(volume.created_at),
        "Driver": "local",
        "Labels": dict(volume.labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": {},
        "Scope": "local",
        "Anonymous": volume.anonymous,
        "UsedBy": list(volume.users),
    }


def mount_documents(mounts: Iterable[MountPoint], tmpfs: Iterable[Tmpfs]) -> list[dict[str, Any]]:
    """Return `Mounts` of `inspect`."""
    return [*map(_mount, mounts), *map(_tmpfs, tmpfs)]


def _mount(mount: MountPoint) -> dict[str, Any]:
    named = {"Name": mount.name, "Driver": "local"} if mount.name is not None else {}
    return {
        "Type": mount.type,
        **named,
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": "ro" if mount.read_only else "",
        "RW": not mount.read_only,
        "Propagation": mount.propagation if mount.type == "bind" else "",
    }


def _tmpfs(tmpfs: Tmpfs) -> dict[str, Any]:
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": tmpfs.target,
        "Mode": "",
        "RW": not tmpfs.read_only,
        "Propagation": "",
    }


def bind_text(volume: Volume) -> str:
    """Return a volume as `-v` writes it, for `Binds`."""
    return f"{volume.source}:{volume.target}:{'ro' if volume.read_only else 'rw'}"
