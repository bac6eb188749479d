"""What a request mounts in its container: which targets and sources can be, and what several wishes come to.

Owns the refusals about mounts, and which wish wins. Looks at the host's files (sources), makes nothing.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from wherry_protocol.container_state import MountPoint
from wherry_protocol.errors import BadRequest, ImageError
from wherry_protocol.run_spec import Volume
from wherryd.containers.names import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry_protocol.run_spec import RunSpec, Tmpfs

RESERVED = ("/proc", "/sys", "/dev")
"""Nothing of the caller's is mounted on or in these: they are the sandbox."""


def check_mounts(spec: RunSpec) -> None:
    """Refuse what can be refused without the host. Raises BadRequest naming the mount."""
    seen: set[str] = set()
    mounts: tuple[Volume | Tmpfs, ...] = (*spec.volumes, *spec.tmpfs)
    for mount in mounts:
        target = check_target(mount.target)
        if target in seen:
            raise BadRequest(f"mount target {mount.target} is given twice")
        seen.add(target)
    for volume in spec.volumes:
        _check_volume(volume)
    for text in spec.volumes_from:
        split_reference(text)
    for tmpfs in spec.tmpfs:
        if tmpfs.size is not None and tmpfs.size <= 0:
            raise BadRequest(f"tmpfs {tmpfs.target}: size {tmpfs.size} is not positive")
        if not 0 <= tmpfs.mode <= 0o7777:  # noqa: PLR2004 - the permission bits
            raise BadRequest(f"tmpfs {tmpfs.target}: mode {tmpfs.mode:o} is out of range")


def _check_volume(volume: Volume) -> None:
    no_nul(volume.source, "volume source")
    if volume.source.startswith("/"):
        if volume.labels or not volume.copy:
            raise BadRequest(
                f"volume source {volume.source}: a host path has no labels and is never filled",
                hint="those are for volumes with a name",
            )
        return
    if volume.source and NAME.fullmatch(volume.source) is None:
        raise BadRequest(
            f"volume source {volume.source[:130]!r} is neither an absolute path nor a volume's name",
            hint="a name is a letter or digit, then letters, digits, '_', '.' or '-', at most 128 in all",
        )
    if volume.propagation != "rprivate" or not volume.recursive:
        raise BadRequest(
            f"volume {volume.source or volume.target}: propagation and recursion are for host paths only"
        )


def check_target(target: str) -> str:
    """Return a mount target normalised; what `..` means is decided here, lexically, and nowhere else."""
    no_nul(target, "mount target")
    if not target.startswith("/"):
        raise BadRequest(f"mount target {target!r} is not absolute", hint="start it with /")
    clean = posixpath.normpath("/" + target.lstrip("/"))
    if ".." in target.split("/"):
        raise BadRequest(f"mount target {target!r} has '..' in it")
    if clean == "/":
        raise BadRequest("mount target / is the container's root: it cannot be mounted over")
    for reserved in RESERVED:
        if clean == reserved or clean.startswith(reserved + "/"):
            raise BadRequest(f"mount target {target} is refused: {reserved} belongs to the sandbox")
    return clean


def no_nul(text: str, where: str) -> None:
    """Raises BadRequest for what no system call takes."""
    if "\0" in text:
        raise BadRequest(f"{where} {text[:60]!r}: a NUL character is not allowed")


def check_sources(volumes: Iterable[Volume], forbidden: tuple[Path, ...]) -> None:
    """Refuse host paths that are missing or that are wherry's own. May block: call it in a thread.

    For a clear word before anything is made; the launcher's worker looks again, at the very thing it mounts.
    """
    for volume in volumes:
        if volume.source.startswith("/"):
            _check_source(volume.source, forbidden)


def _check_source(source: str, forbidden: tuple[Path, ...]) -> None:
    try:
        real = Path(os.path.realpath(source, strict=True))
    except FileNotFoundError as error:
        raise BadRequest(
            f"volume source {source} does not exist", hint="create it first", path=source
        ) from error
    except OSError as error:
        raise BadRequest(f"volume source {source}: {error.strerror}", path=source) from error
    for own in forbidden:
        if real == own or own in real.parents:
            raise BadRequest(
                f"volume source {source} is wherry's own ({own})",
                hint="a container must not reach its supervisor's files",
                path=source,
            )


def split_reference(text: str) -> tuple[str, bool]:
    """Return the container that a `volumes_from` names, and whether to mount read-only. Raises BadRequest."""
    reference, colon, mode = text.partition(":")
    if not reference or (colon and mode not in ("ro", "rw")):
        raise BadRequest(f"volumes from {text[:130]!r}: expected CONTAINER, CONTAINER:ro or CONTAINER:rw")
    return reference, mode == "ro"


def combine(spec: RunSpec, inherited: Sequence[MountPoint], image_volumes: Sequence[str]) -> list[Volume]:
    """Return what is to be mounted, outer targets first: the request's own over others' over the image's."""
    wanted = {mount.target: _again(mount) for mount in inherited}
    wanted |= {check_target(volume.target): volume for volume in spec.volumes}
    taken = {check_target(tmpfs.target) for tmpfs in spec.tmpfs}
    for target in map(_image_target, image_volumes):
        wanted.setdefault(target, Volume(source="", target=target))
    found = [volume.replace(target=target) for target, volume in wanted.items() if target not in taken]
    return sorted(found, key=lambda volume: volume.target.count("/"))


def _again(mount: MountPoint) -> Volume:
    return Volume(
        source=mount.name or mount.source,
        target=mount.target,
        read_only=mount.read_only,
        recursive=mount.recursive,
        propagation=mount.propagation,
        copy=mount.name is None,
    )


def _image_target(target: str) -> str:
    try:
        return check_target(target)
    except BadRequest as error:
        raise ImageError(f"the image asks for a volume that cannot be: {error}") from error


def bind(volume: Volume) -> MountPoint:
    """Return where and how a host path is mounted."""
    return MountPoint(
        type="bind",
        source=volume.source,
        target=check_target(volume.target),
        read_only=volume.read_only,
        recursive=volume.recursive,
        propagation=volume.propagation,
    )
