"""Which images an archive holds, and where their layers are: OCI layouts and what `docker save` writes.

Formats: OCI image-spec image-layout.md, image-index.md, manifest.md; docker's manifest.json. Everything
read here is hostile: sizes, digests, numbers and depth are bounded and compared. Worker side; pure but for
reading through `Blobs`.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from wherryd.images import configs
from wherryd.images.broken import BrokenArchive
from wherryd.images.configs import MAX_CONFIG, MAX_LAYERS, is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherryd.images.blobs import Blobs, Place

MAX_MANIFEST = 1 << 20
"""Bytes of an index or manifest; 500 layers take 100 KiB."""
MAX_IMAGES = 100
MAX_NAMES = 1000
_MAX_NESTING = 3  # an index may name another one
_INDEX_TYPES = frozenset(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_ATTESTATION = "vnd.docker.reference.type"
_LAYER_SUFFIXES = (".tar", ".tar+gzip", ".tar+zstd", ".tar.gzip", ".tar.zstd", ".tar.bzip2", ".tar.xz")


class Blob(NamedTuple):
    """A layer's archive: its diff id, its own digest ("" where the format has none), and its place."""

    diff_id: str
    digest: str
    place: Place


class Found(NamedTuple):
    """An image of the archive. A name without ':' and '/' may be a tag only. `layers` are bottom first."""

    digest: str
    names: tuple[str, ...]
    config: str
    layers: tuple[Blob, ...]


def images_of(blobs: Blobs, machine: str) -> tuple[Found, ...]:
    """Return the images for this machine (as uname(2) calls it). Raises BrokenArchive."""
    found: dict[str, Found] = {}
    for image in _all(blobs, configs.architecture(machine)):
        known = found.get(image.digest)
        names = (*(known.names if known else ()), *image.names)
        found[image.digest] = image._replace(names=tuple(dict.fromkeys(names)))
        if len(found) > MAX_IMAGES or len(names) > MAX_NAMES:
            raise BrokenArchive(f"it holds more than {MAX_IMAGES} images, or {MAX_NAMES} names of one")
    if not found:
        raise BrokenArchive("it holds no image")
    return tuple(found.values())


def _all(blobs: Blobs, architecture: str) -> Iterator[Found]:
    if blobs.place("index.json") is not None and blobs.place("oci-layout") is not None:
        layout = configs.parse_json(_read(blobs, "oci-layout", MAX_MANIFEST), "oci-layout")
        if not str(layout.get("imageLayoutVersion", "")).startswith("1."):
            raise BrokenArchive(f"oci-layout: version {layout.get('imageLayoutVersion')!r:.20} is unknown")
        index = configs.parse_json(_read(blobs, "index.json", MAX_MANIFEST), "index.json")
        for descriptor in _for_machine(_list(index, "manifests", "index.json"), architecture):
            yield _image(blobs, descriptor, architecture, _MAX_NESTING)
    elif blobs.place("manifest.json") is not None:
        yield from _docker_images(blobs)
    else:
        raise BrokenArchive(
            "it holds no image: neither index.json nor manifest.json",
            "an archive of docker before 1.10 has to be saved again by a newer one",
        )


def _for_machine(descriptors: list[dict[str, Any]], architecture: str) -> list[dict[str, Any]]:
    """Return the descriptors that are for this machine, or for any."""
    real = [each for each in descriptors if _ATTESTATION not in _annotations(each)]
    fit = [each for each in real if _platform(each) in ("", f"linux/{architecture}")]
    if not fit and real:
        there = ", ".join(sorted({_platform(each) for each in real}))[:200]
        raise BrokenArchive(f"it has no image for linux/{architecture}, only for {there}")
    return fit


def _platform(descriptor: Mapping[str, Any]) -> str:
    platform = descriptor.get("platform")
    if not is_object(platform):
        return ""
    return f"{platform.get('os')!s:.20}/{platform.get('architecture')!s:.20}"


def _annotations(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    found = descriptor.get("annotations")
    return found if is_object(found) else {}


def _image(blobs: Blobs, descriptor: dict[str, Any], architecture: str, nesting: int) -> Found:
    """Return the image that a descriptor leads to; an index in between gives the one for this machine."""
    text, digest = _described(blobs, descriptor, MAX_MANIFEST, "a manifest")
    manifest = configs.parse_json(text, f"manifest {digest[:12]}")
    media_type = descriptor.get("mediaType") or manifest.get("mediaType")
    if media_type in _INDEX_TYPES or "manifests" in manifest:
        if not nesting:
            raise BrokenArchive("indexes lie too deep in one another")
        fit = _for_machine(_list(manifest, "manifests", f"index {digest[:12]}"), architecture)
        if not fit:
            raise BrokenArchive(f"index {digest[:12]} is empty")
        inner = _image(blobs, fit[0], architecture, nesting - 1)
        return inner._replace(names=_names(descriptor))
    config, config_digest = _described(blobs, _inner(manifest, "config"), MAX_CONFIG, "the image's config")
    layers = [
        (_layer_digest(each), _place_of(blobs, each, "a layer"))
        for each in _list(manifest, "layers", "manifest")
    ]
    return _found(config, config_digest, _names(descriptor), layers)


def _names(descriptor: Mapping[str, Any]) -> tuple[str, ...]:
    annotations = _annotations(descriptor)
    name = annotations.get(_FULL_NAME) or annotations.get(_REF_NAME)
    return (name,) if isinstance(name, str) and name else ()


def _found(config: bytes, digest: str, names: tuple[str, ...], layers: list[tuple[str, Place]]) -> Found:
    """Return a checked image: its config has to fit the layers there are."""
    document = configs.parse_json(config, "the image's config")
    diff_ids = configs.diff_ids(document)
    configs.image_config(document)
    configs.check_history(document)
    if document.get("os", "linux") != "linux":
        raise BrokenArchive(f"the image is for {document.get('os')!r:.20}, not for linux")
    if len(diff_ids) != len(layers):
        raise BrokenArchive(f"the image's config names {len(diff_ids)} layers, its manifest {len(layers)}")
    blobs = tuple(Blob(diff_id, blob, place) for diff_id, (blob, place) in zip(diff_ids, layers, strict=True))
    try:
        text = config.decode()
    except UnicodeDecodeError:
        raise BrokenArchive("the image's config is not UTF-8") from None
    return Found(digest, names, text, blobs)


def _docker_images(blobs: Blobs) -> Iterator[Found]:
    what = "manifest.json"
    try:
        entries = json.loads(_read(blobs, what, MAX_MANIFEST))
    except (ValueError, RecursionError) as error:
        raise BrokenArchive(f"{what} is no JSON: {error}"[:200]) from None
    for entry in _list({"entries": entries}, "entries", what):
        config = _read(blobs, _text(entry, "Config", what), MAX_CONFIG)
        digest = hashlib.sha256(config).hexdigest()
        stem = os.path.basename(str(entry["Config"])).removesuffix(".json")
        if len(stem) == len(digest) and stem != digest:
            raise BrokenArchive(f"the image's config {stem[:12]} is damaged: its digest is {digest[:12]}")
        names = _texts(entry, "RepoTags", what)
        places = [("", _docker_layer(blobs, name)) for name in _texts(entry, "Layers", what)]
        yield _found(config, digest, tuple(names), places)


def _docker_layer(blobs: Blobs, name: str) -> Place:
    place = blobs.place(name)
    if place is None:
        raise BrokenArchive(f"layer {name!r:.100} is not in the archive")
    return place


def _layer_digest(descriptor: Mapping[str, Any]) -> str:
    media_type = descriptor.get("mediaType", "")
    if media_type and not str(media_type).endswith(_LAYER_SUFFIXES):
        raise BrokenArchive(f"a layer of type {media_type!r:.80} is no part of a root file system")
    return configs.digest_of(descriptor.get("digest"), "a layer")


def _place_of(blobs: Blobs, descriptor: Mapping[str, Any], what: str) -> Place:
    """Return the place of a blob whose size is as its descriptor says."""
    digest = configs.digest_of(descriptor.get("digest"), what)
    place = blobs.place(f"blobs/sha256/{digest}")
    if place is None:
        raise BrokenArchive(f"{what}: blob {digest[:12]} is not in the archive")
    if descriptor.get("size") != place.size:
        size = descriptor.get("size")
        raise BrokenArchive(f"{what}: blob {digest[:12]} has {place.size:,} bytes, not {size!r:.20}")
    return place


def _described(blobs: Blobs, descriptor: dict[str, Any], limit: int, what: str) -> tuple[bytes, str]:
    """Return a small blob's bytes and digest, compared with its descriptor."""
    digest = configs.digest_of(descriptor.get("digest"), what)
    data = _limited(blobs, _place_of(blobs, descriptor, what), limit, what)
    if hashlib.sha256(data).hexdigest() != digest:
        raise BrokenArchive(f"{what}: blob {digest[:12]} is damaged: its digest is another")
    return data, digest


def _read(blobs: Blobs, name: str, limit: int) -> bytes:
    place = blobs.place(name)
    if place is None:
        raise BrokenArchive(f"{name!r:.100} is not in the archive")
    return _limited(blobs, place, limit, f"{name:.100}")


def _limited(blobs: Blobs, place: Place, limit: int, what: str) -> bytes:
    if place.size > limit:
        raise BrokenArchive(f"{what} has {place.size:,} bytes, more than {limit:,}")
    return blobs.read(place)


def _list(document: Mapping[str, Any], name: str, what: str) -> list[dict[str, Any]]:
    found = document.get(name)
    if not is_list(found) or not all(map(is_object, found)):
        raise BrokenArchive(f"{what}: {name} is no list of objects")
    if len(found) > max(MAX_LAYERS, MAX_NAMES):
        raise BrokenArchive(f"{what}: {name} has more than {max(MAX_LAYERS, MAX_NAMES)} entries")
    return found


def _inner(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    if not is_object(found):
        raise BrokenArchive(f"the manifest has no {name}")
    return found


def _text(document: Mapping[str, Any], name: str, what: str) -> str:
    found = document.get(name)
    if not isinstance(found, str):
        raise BrokenArchive(f"{what}: {name} is {found!r:.60}")
    return found


def _texts(document: Mapping[str, Any], name: str, what: str) -> list[str]:
    found: Any = document.get(name) or []
    if not is_list(found) or not all(isinstance(each, str) for each in found):
        raise BrokenArchive(f"{what}: {name} is no list of strings")
    return found
