"""Image archives that mean harm, or were damaged: one clear line, nothing kept, nothing touched outside."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from support.imagekit import (
    OTHER,
    Built,
    Files,
    descriptor,
    docker_save,
    folder,
    layer,
    member,
    oci,
    pack,
    sha,
)
from tarkit import hardlink, snapshot, symlink

from wherry_protocol.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.images.store import ImageStore

Write = Callable[..., str]

SMALL = layer(member("f", random.Random(1).randbytes(3000)))
IMAGE = Built([SMALL, layer(member("g", b"x"))])


def changed(change: Callable[[dict[str, Any]], None], image: Built = IMAGE) -> bytes:
    """An OCI archive whose config was changed, with every digest above it right."""
    document = json.loads(image.document)
    change(document)
    return with_config(json.dumps(document).encode(), image)


def with_config(config: bytes, image: Built = IMAGE) -> bytes:
    files = oci(image, compress=False)
    manifest = {
        "schemaVersion": 2,
        "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(each, "layer.v1.tar") for each in image.layers],
    }
    return with_manifest({**files, f"blobs/sha256/{sha(config)}": config}, manifest)


def with_manifest(files: Files, manifest: Any) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    index = json.dumps({"manifests": [descriptor(text, "manifest.v1+json")]}).encode()
    return pack({**files, f"blobs/sha256/{sha(text)}": text, "index.json": index})


def manifest_of(change: Callable[[dict[str, Any]], None]) -> bytes:
    """An OCI archive whose manifest was changed."""
    files = oci(IMAGE, compress=False)
    manifest = {
        "schemaVersion": 2,
        "config": descriptor(IMAGE.document, "config.v1+json"),
        "layers": [descriptor(each, "layer.v1.tar") for each in IMAGE.layers],
    }
    change(manifest)
    return with_manifest(files, manifest)


def docker_with(change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    files = docker_save(IMAGE)
    entries = json.loads(files["manifest.json"])
    change(entries)
    return pack({**files, "manifest.json": json.dumps(entries).encode()})


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.__setitem__(key, value)


def configured(**config: Any) -> bytes:
    return changed(put("config", config))


def without(part: str) -> bytes:
    return pack({name: data for name, data in oci(IMAGE, compress=False).items() if part not in name})


def replaced(part: str, data: bytes) -> bytes:
    files = oci(IMAGE, compress=False)
    return pack({name: data if part in name else old for name, old in files.items()})


def endless_index(levels: int) -> bytes:
    files = oci(IMAGE)
    entries = json.loads(files["index.json"])["manifests"]
    for _ in range(levels):
        text = json.dumps({"manifests": entries}).encode()
        files[f"blobs/sha256/{sha(text)}"] = text
        entries = [descriptor(text, "index.v1+json")]
    return pack({**files, "index.json": json.dumps({"manifests": entries}).encode()})


FIRST, SECOND = (sha(each) for each in IMAGE.layers)

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no layer blob": (lambda: without(FIRST), f"blob {FIRST[:12]} is not in the archive"),
    "no config blob": (lambda: without(sha(IMAGE.document)), "is not in the archive"),
    "another layer under its name": (lambda: replaced(FIRST, b"x" * len(SMALL)), "it is no tar archive"),
    "a flipped bit in a layer": (
        lambda: replaced(FIRST, SMALL.replace(b"f\0", b"e\0", 1)), f"layer {FIRST[:12]}: it is no tar archive"
    ),
    "another file's content": (
        lambda: replaced(FIRST, layer(member("f", random.Random(2).randbytes(3000)))),
        "is damaged: its digest",
    ),
    "a shorter layer": (lambda: replaced(FIRST, SMALL[:-512]), f"has {len(SMALL) - 512:,} bytes, not"),
    "a damaged config": (
        lambda: replaced(sha(IMAGE.document), IMAGE.document.replace(b"step 0", b"step 9")), "is damaged"
    ),
    "a layer that is not what its diff id says": (
        lambda: changed(put("rootfs", {"diff_ids": ["sha256:" + "0" * 64, f"sha256:{SECOND}"]})),
        "layer 000000000000 is damaged: its content has the digest",
    ),
    "a size that lies": (
        lambda: manifest_of(lambda m: m["layers"][0].update(size=7)), "bytes, not 7"
    ),
    "a size that is none": (
        lambda: manifest_of(lambda m: m["layers"][0].update(size="many")), "bytes, not 'many'"
    ),
    "a path for a digest": (
        lambda: manifest_of(lambda m: m["layers"][0].update(digest="sha256:../../../etc/passwd")),
        "is no sha256 digest",
    ),
    "another algorithm": (
        lambda: manifest_of(lambda m: m["layers"][0].update(digest="sha512:" + "0" * 128)),
        "is no sha256 digest",
    ),
    "a layer that is none": (
        lambda: manifest_of(lambda m: m["layers"][0].update(mediaType="application/vnd.cncf.helm.chart")),
        "is no part of a root file system",
    ),
    "more layers than diff ids": (
        lambda: manifest_of(lambda m: m.update(layers=[*m["layers"], m["layers"][0]])),
        "2 layers, its manifest 3",
    ),
    "501 layers": (
        lambda: changed(put("rootfs", {"diff_ids": [f"sha256:{FIRST}"] * 501})),
        "501 layers; overlayfs takes 500",
    ),
    "no layers": (lambda: changed(put("rootfs", {"diff_ids": []})), "names no layers"),
    "layers of another type": (lambda: changed(put("rootfs", {"diff_ids": "all"})), "names no layers"),
    "another machine's": (
        lambda: pack(oci(Built([SMALL], architecture=OTHER), nested=True)),
        f"only for linux/{OTHER}",
    ),
    "another system's": (lambda: changed(put("os", "windows")), "is for 'windows', not for linux"),
    "indexes in indexes": (lambda: endless_index(5), "too deep in one another"),
    "an index of nothing": (lambda: with_manifest(oci(IMAGE), {"manifests": []}), "is empty"),
    "no images": (lambda: pack({**oci(), "x": b""}), "holds no image"),
    "a manifest bomb": (lambda: with_manifest(oci(IMAGE), b"[" * 900_000), "is no JSON"),
    "a manifest of 2 MiB": (lambda: with_manifest(oci(IMAGE), b" " * (2 << 20)), "more than 1,048,576"),
    "a config of 1 MiB": (lambda: configured(Env=["x" * (1 << 20)]), "more than 524,288"),
    "a config that is deep": (
        lambda: configured(Extra=json.loads("[" * 100 + "]" * 100)), "a very deep one"
    ),
    "a number bomb": (lambda: with_config(b'{"rootfs": ' + b"9" * 10_000 + b"}"), "is no JSON"),
    "a config that is no object": (lambda: with_config(b"[]"), "is no JSON object"),
    "a config in another encoding": (lambda: with_config(b'{"os": "\xff"}'), "is no JSON"),
    "a command with NUL": (lambda: configured(Cmd=["a\0b"]), "Cmd is"),
    "half a character": (lambda: configured(Labels={"a": "\ud800"}), "Labels is"),
    "an environment of numbers": (lambda: configured(Env=[1, 2]), "Env is [1, 2]"),
    "a volume without a slash": (lambda: configured(Volumes={"../x": {}}), "Volumes is"),
    "a port that is none": (lambda: configured(ExposedPorts={"80/smtp": {}}), "ExposedPorts is"),
    "a time that is none": (
        lambda: configured(Healthcheck={"Test": ["CMD", "x"], "Interval": -1}), "Healthcheck.Interval is -1"
    ),
    "a probe that is none": (lambda: configured(Healthcheck={"Test": ["RUN"]}), "begins with 'RUN'"),
    "a history that is none": (lambda: changed(put("history", "long")), "history is no list"),
    "docker: a path out": (
        lambda: docker_with(lambda m: m[0].update(Layers=["../../etc/passwd"] * 2)), "the name has a '..'"
    ),
    "docker: an absolute path": (
        lambda: docker_with(lambda m: m[0].update(Layers=["/etc/passwd"] * 2)), "is not in the archive"
    ),
    "docker: a config out": (lambda: docker_with(lambda m: m[0].update(Config="../x.json")), "'..'"),
    "docker: no config": (lambda: docker_with(lambda m: m[0].pop("Config")), "Config is None"),
    "docker: layers of numbers": (
        lambda: docker_with(lambda m: m[0].update(Layers=[1])), "no list of strings"
    ),
    "docker: half a character": (
        lambda: docker_with(lambda m: m[0].update(Layers=["\ud800"] * 2)), "is no name"
    ),
    "docker: not a list": (lambda: pack({**docker_save(IMAGE), "manifest.json": b"7"}), "no list of objects"),
    "docker: links in a circle": (
        lambda: pack(
            {k: v for k, v in docker_save(Built([SMALL])).items() if "layer.tar" not in k},
            links={next(k for k in docker_save(Built([SMALL])) if "layer.tar" in k): "layer.tar"},
        ),
        "is not in the archive",
    ),
    "docker: a damaged config": (
        lambda: pack({k: v.replace(b"step 0", b"step 9") for k, v in docker_save(IMAGE).items()}),
        "is damaged",
    ),
    "too many images": (
        lambda: pack(docker_save(*(Built([SMALL], {"Cmd": [str(n)]}, tag=f"t:{n}") for n in range(101)))),
        "more than 100 images",
    ),
    "a layout of the future": (
        lambda: replaced("oci-layout", b'{"imageLayoutVersion": "7"}'), "version '7' is unknown"
    ),
    "docker before 1.10": (
        lambda: pack({f"{'a' * 64}/layer.tar": SMALL, "repositories": b"{}"}), "saved again by a newer one"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_refused_with_a_reason_and_nothing_left(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None], name: str
) -> None:
    """Loaded or run: an ImageError that names the file and the reason."""
    make, reason = HOSTILE[name]
    path = archive(make())
    with pytest.raises(ImageError) as caught:
        await store.load(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"image {path}: ")
    assert str(caught.value).isprintable()
    assert store.list() == ()
    nothing_left()


LAYERS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "dotdot": (lambda _: layer(member("a/../../evil", b"x")), "'..'"),
    "through a symlink": (lambda c: layer(symlink("out", str(c)), member("out/evil", b"x")), "is a symlink"),
    "a whiteout through a symlink": (
        lambda c: layer(symlink("out", str(c)), member("out/.wh.secret")), "is a symlink"
    ),
    "opaque through a symlink": (
        lambda c: layer(symlink("out", str(c)), member("out/.wh..wh..opq")), "is a symlink"
    ),
    "a whiteout of the parent": (lambda _: layer(member("a/.wh...")), "a whiteout of nothing"),
    "a whiteout of the folder": (lambda _: layer(member("a/.wh..")), "a whiteout of nothing"),
    "a whiteout of nothing": (lambda _: layer(member("a/.wh.")), "a whiteout of nothing"),
    "below a whiteout": (lambda _: layer(member("a/.wh.b/c", b"x")), "a name below a whiteout"),
    "hardlink to a whiteout": (
        lambda _: layer(member(".wh.x"), hardlink("y", ".wh.x")), "not in the archive"
    ),
    "hardlink out": (lambda c: layer(hardlink("y", f"../../..{c}/secret")), "'..'"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
async def test_layer_reaches_nothing_outside(
    store: ImageStore, archive: Write, tmp_path: Path, nothing_left: Callable[[], None], name: str
) -> None:
    """What an extraction of a root's archive refuses a layer's refuses, and whiteouts go no other way."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_bytes(b"untouched")
    before = snapshot(canary)
    make, reason = LAYERS[name]
    path = archive(pack(oci(Built([layer(folder("ok")), make(canary)]))))
    with pytest.raises(ImageError) as caught:
        await store.load(path)
    assert reason in str(caught.value)
    assert snapshot(canary) == before
    nothing_left()


async def test_cut_anywhere_leaves_nothing(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """An archive that was not copied to its end is no image, compressed layers or not."""
    data = pack(oci(IMAGE))
    end = len(data.rstrip(b"\0"))
    for cut in range(600, end, end // 15):
        with pytest.raises(ImageError):
            await store.load(archive(data[:cut]))
    nothing_left()


async def test_flipped_bits_never_give_another_image(store: ImageStore, archive: Write) -> None:
    """Wherever a bit is flipped: refused, or the very same image."""
    data = bytearray(pack(oci(IMAGE)))
    for place in random.Random(3).sample(range(len(data)), 40):
        data[place] ^= 1
        try:
            loaded = await store.load(archive(bytes(data)))
        except ImageError:
            loaded = ()
        assert {image.digest for image in loaded} <= {IMAGE.digest}
        data[place] ^= 1


async def test_layout_with_links_out_reads_nothing_of_the_host(store: ImageStore, tmp_path: Path) -> None:
    """In a layout's folder a blob that is a symlink leads into the folder, or nowhere."""
    secret = tmp_path / "secret.tar"
    secret.write_bytes(SMALL)
    layout = tmp_path / "layout"
    for name, data in oci(Built([SMALL]), compress=False).items():
        path = layout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    blob = layout / "blobs/sha256" / hashlib.sha256(SMALL).hexdigest()
    blob.unlink()
    blob.symlink_to(secret)
    with pytest.raises(ImageError, match="is not in the archive"):
        await store.load(str(layout))
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(ImageError, match="is no file"):
        await store.load(str(layout))
