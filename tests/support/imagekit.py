"""Image archives for tests: an image as a list of layer tars, written in each of the forms there are."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER = "s390x" if ARCHITECTURE != "s390x" else "amd64"

Files = dict[str, bytes]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Built:
    """An image: its layers' tars, bottom first, and its config."""

    layers: list[bytes]
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    architecture: str = ARCHITECTURE
    tag: str = "demo:1"

    @property
    def document(self) -> bytes:
        return json.dumps(
            {
                "created": "2024-05-06T07:08:09.123456789Z",
                "architecture": self.architecture,
                "os": "linux",
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(each)}" for each in self.layers]},
                "history": [
                    {"created": "2024-05-06T07:08:09Z", "created_by": f"step {index}"}
                    for index in range(len(self.layers))
                ],
            }
        ).encode()

    @property
    def digest(self) -> str:
        return f"sha256:{sha(self.document)}"


Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name: str, **fields: Any) -> Member:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def layer(*members: Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def descriptor(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
    media_type = f"application/vnd.oci.image.{kind}"
    return {"mediaType": media_type, "digest": f"sha256:{sha(data)}", "size": len(data), **more}


def blob(files: Files, data: bytes) -> None:
    files[f"blobs/sha256/{sha(data)}"] = data


def manifest(files: Files, image: Built, *, compress: bool = True) -> bytes:
    """Add an image's blobs and return its manifest, which is one of them."""
    suffix = "tar+gzip" if compress else "tar"
    blobs = [gzip.compress(each, 1, mtime=0) if compress else each for each in image.layers]
    text = json.dumps(
        {
            "schemaVersion": 2,
            "config": descriptor(image.document, "config.v1+json"),
            "layers": [descriptor(each, f"layer.v1.{suffix}") for each in blobs],
        }
    ).encode()
    for each in (*blobs, image.document, text):
        blob(files, each)
    return text


def oci(*images: Built, compress: bool = True, nested: bool = False) -> Files:
    """An OCI layout; `nested`: one index entry that leads to an index of all platforms."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    entries = []
    for image in images:
        text = manifest(files, image, compress=compress)
        entry = descriptor(text, "manifest.v1+json")
        if nested:
            entry["platform"] = {"os": "linux", "architecture": image.architecture}
        else:
            entry["annotations"] = {"org.opencontainers.image.ref.name": image.tag}
        entries.append(entry)
    if nested:
        text = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        blob(files, text)
        name = {"io.containerd.image.name": f"docker.io/library/{images[0].tag}"}
        entries = [descriptor(text, "index.v1+json", annotations=name)]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return files


def docker_save(*images: Built) -> Files:
    """What docker wrote before 25: a folder for each layer, and manifest.json."""
    files: Files = {}
    entries = []
    for image in images:
        names = []
        for index, data in enumerate(image.layers):
            name = f"{sha(image.document + bytes([index]))}/layer.tar"
            files[name] = data
            names.append(name)
        config = f"{sha(image.document)}.json"
        files[config] = image.document
        entries.append({"Config": config, "RepoTags": [image.tag], "Layers": names})
    files["manifest.json"] = json.dumps(entries).encode()
    files["repositories"] = b"{}"
    return files


def pack(files: Files, *, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def write_folder(files: Files, folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
