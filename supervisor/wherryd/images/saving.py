"""Images of the store as one archive: an OCI layout in a tar, which docker and podman load, too.

Formats: OCI image-spec image-layout.md; docker's manifest.json beside it. Layers are written uncompressed,
as docker writes them, byte for byte as they came in: an image that is loaded again is the same image.
Never reads a layer itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry_protocol.errors import BadRequest, InternalError
from wherryd.images import configs, names
from wherryd.images.extraction import error_of
from wherryd.images.packer import File, Layer
from wherryd.images.records import Failed, Read, Saved, decode
from wherryd.workers import records, worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherryd.images.catalog import Image
    from wherryd.images.flights import Listener
    from wherryd.images.shelf import Shelf

_OCI = "application/vnd.oci.image"
_DEFAULT_REGISTRY = "docker.io"


class Asked(NamedTuple):
    """An image to be saved, under these names."""

    image: Image
    names: tuple[str, ...]


async def save(shelf: Shelf, asked: Sequence[Asked], fd: int, report: Listener) -> int:
    """Write images to `fd`, a file or a pipe; return the bytes written.

    Raises BadRequest, ImageError, NoSpace, KernelFailure.
    """
    layers = {digest for each in asked for digest in each.image.layers}
    for digest in layers:
        _expect_repeatable(shelf, digest)
    with shelf.layers.holding(layers):
        return await _write([*_files(shelf, asked)], str(shelf.layers.folder), fd, report)


def _expect_repeatable(shelf: Shelf, digest: str) -> None:
    if not shelf.layers.get(digest).repeatable:
        raise BadRequest(
            f"layer {digest[:12]} cannot be written as the archive it was: it was unpacked by wherry 0.1,"
            " or files in it replace others of more than 64 MiB",
            hint="load or import its archive again, or `wherry export` a container of it",
        )


async def _write(files: list[File], folder: str, fd: int, report: Listener) -> int:
    total = sum(_size(file) for file in files)
    listed = os.memfd_create("files", os.MFD_CLOEXEC)
    try:
        os.write(listed, json.dumps(files).encode())
        os.lseek(listed, 0, os.SEEK_SET)
        argument = json.dumps([fd, folder])
        async with (
            worker("wherryd.images.packer", argument, data=listed, fds=(fd,)) as process,
            aclosing(records(process, decode, "packing")) as told,
        ):
            async for _job, record in told:
                if isinstance(record, Read):
                    report(min(record.total, total), total)
                elif isinstance(record, Saved):
                    return record.size
                elif isinstance(record, Failed):
                    raise error_of(record, "the archive", "written")
    finally:
        os.close(listed)
    raise InternalError("the packing process told no end")


def _size(file: File) -> int:
    return file.layer.size if file.layer else len(file.text or "")


def _files(shelf: Shelf, asked: Sequence[Asked]) -> Iterator[File]:
    yield File("blobs/", None, None)
    yield File("blobs/sha256/", None, None)
    index: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []
    blobs: dict[str, File] = {}
    for each in asked:
        config = each.image.config or _plain_config(each.image)
        layers = [_layer(shelf, digest) for digest in each.image.layers]
        manifest = json.dumps(_manifest(config, layers))
        for text in (config, manifest):
            blobs.setdefault(_sha256(text), File(_blob(_sha256(text)), text, None))
        for layer in layers:
            blobs.setdefault(layer.digest, File(_blob(layer.digest), None, layer))
        index += _entries(manifest, each.names)
        docker.append(
            {
                "Config": _blob(_sha256(config)),
                "RepoTags": [_tagged(name) for name in each.names],
                "Layers": [_blob(layer.digest) for layer in layers],
            }
        )
    yield from blobs.values()
    media_type = f"{_OCI}.index.v1+json"
    layout = {"schemaVersion": 2, "mediaType": media_type, "manifests": index}
    yield File("index.json", json.dumps(layout), None)
    yield File("manifest.json", json.dumps(docker), None)
    yield File("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}), None)


def _layer(shelf: Shelf, digest: str) -> Layer:
    places = (f"{digest}/{name}" for name in ("root", "split.zst", "replaced"))
    return Layer(digest, shelf.layers.get(digest).tar_size, *places)


def _manifest(config: str, layers: list[Layer]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _descriptor("config.v1+json", _sha256(config), len(config.encode())),
        "layers": [_descriptor("layer.v1.tar", layer.digest, layer.size) for layer in layers],
    }


def _entries(manifest: str, given: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the index's entries: one a name, or one without."""
    descriptor = _descriptor("manifest.v1+json", _sha256(manifest), len(manifest.encode()))
    if not given:
        yield descriptor
    for name in given:
        yield {
            **descriptor,
            "annotations": {
                "io.containerd.image.name": _full(name),
                "org.opencontainers.image.ref.name": names.split(name)[1],
            },
        }


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": size}


def _plain_config(image: Image) -> str:
    """Return a config for a root's archive, which has none; the same one each time."""
    made = configs.grown("", image.layers, {}, {"comment": "imported"}, os.uname().machine)
    document = json.loads(made)
    document["created"] = document["history"][0]["created"] = configs.rfc3339(image.created_at)
    return json.dumps(document)


def _full(name: str) -> str:
    """Return a name as containerd writes it: with its registry."""
    tagged = _tagged(name)
    first, slash, _ = tagged.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return tagged
    return f"{_DEFAULT_REGISTRY}/{tagged}" if slash else f"{_DEFAULT_REGISTRY}/library/{tagged}"


def _tagged(name: str) -> str:
    return ":".join(names.split(name))


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
