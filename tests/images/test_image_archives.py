"""OCI layouts and `docker save` archives: every form loads, layers are shared, whiteouts become overlay's."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import zstandard
from support.forms import within
from support.imagekit import (
    OTHER,
    Built,
    Files,
    docker_save,
    folder,
    layer,
    member,
    oci,
    pack,
    sha,
    write_folder,
)
from tarkit import hardlink, random_tar, symlink

from wherry_protocol.errors import ImageError
from wherryd.images import archives

if TYPE_CHECKING:
    from wherryd.images.store import ImageStore

Write = Callable[..., str]

BASE = layer(
    folder("etc"), member("etc/passwd", b"root\n"), member("etc/old", b"old"), symlink("sh", "busybox")
)
TOP = layer(folder("etc"), member("etc/.wh.old"), member("etc/new", b"new"))


def two_layers(**config: object) -> Built:
    return Built([BASE, TOP], config)


FORMS: dict[str, Callable[[Built], bytes]] = {
    "docker save": lambda image: pack(docker_save(image)),
    "docker save in gzip": lambda image: gzip.compress(pack(docker_save(image)), 1),
    "oci": lambda image: pack(oci(image)),
    "oci of plain layers": lambda image: pack(oci(image, compress=False)),
    "oci in zstd": lambda image: zstandard.compress(pack(oci(image))),
    "oci and docker's manifest": lambda image: pack({**docker_save(image), **oci(image)}),
    "nested index": lambda image: pack(
        oci(image, Built([random_tar(9)], architecture=OTHER, tag=image.tag), nested=True)
    ),
    "names with a dot": lambda image: pack({f"./{name}": data for name, data in oci(image).items()}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_an_archive_is_the_same_image(
    store: ImageStore, archive: Write, form: str
) -> None:
    """The digest is the config's, the layers are those of the diff ids, the name is the archive's."""
    image = two_layers(Cmd=["sh"])
    (loaded,) = await store.load(archive(FORMS[form](image)))
    assert (loaded.digest, loaded.names, loaded.layers) == (image.digest, ("demo:1",), 2)
    root = await store.resolve("demo:1", None)
    assert [Path(path).parent.name for path in root.layers] == [sha(TOP), sha(BASE)]
    assert root.config.cmd == ("sh",)
    assert (Path(root.layers[0]) / "etc/new").read_bytes() == b"new"


async def test_layout_in_a_folder_and_unpacked_docker_save_load(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No archive is needed; such a folder runs as it stands, and is known the next time."""
    image = two_layers()
    for number, files in enumerate((oci(image), docker_save(image))):
        path = write_folder(files, tmp_path / f"layout{number}")
        assert (await store.resolve(str(path), None)).digest == image.digest
        with monkeypatch.context() as patch:
            patch.setattr(archives, "look_into", None)
            assert (await store.resolve(str(path), None)).digest == image.digest, "it was looked into again"
        (loaded,) = await store.load(str(path))
        assert loaded.names == ("demo:1",)


async def test_archive_comes_through_a_pipe(store: ImageStore) -> None:
    """`docker save … | wherry load`: nothing can be sought in, all arrives all the same."""
    image = two_layers()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as source:

        def write() -> None:
            with pipe:
                pipe.write(pack(docker_save(image)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write)
            (loaded,) = await store.load_stream(source.fileno())
    assert (loaded.digest, loaded.names) == (image.digest, ("demo:1",))


async def test_whiteouts_become_overlays_own(store: ImageStore, archive: Write) -> None:
    """A device 0:0 for a name, the attribute for an opaque folder; neither in the folder's listing."""
    top = layer(
        member("a/.wh.gone"), member("b/.wh..wh..opq"), member("b/kept", b"x"), member("b/.wh.useless"),
        member(".wh.again"), folder("again"), member("again/x", b"x"),
        member(".wh.file"), member("file", b"new"), member(".wh..wh.plnk/1.2", b""), member(".wh..wh.aufs"),
    )  # fmt: skip
    image = Built([BASE, top])
    await store.load(archive(pack(docker_save(image))))
    root = Path((await store.resolve("demo:1", None)).layers[0])
    gone = (root / "a/gone").lstat()
    assert (stat.S_ISCHR(gone.st_mode), gone.st_rdev) == (True, 0)
    opaque = {path for path in ("a", "b", "again") if "trusted.overlay.opaque" in os.listxattr(root / path)}
    assert opaque == {"b", "again"}
    assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
    assert sorted(path.name for path in root.rglob("*")) == sorted(
        ["a", "gone", "b", "kept", "again", "x", "file"]
    )
    assert (root / "file").read_bytes() == b"new"


async def test_opaque_root_hides_every_layer_below(store: ImageStore, archive: Write) -> None:
    """overlayfs does not look at the attribute of a layer's own root: those layers are left out instead."""
    image = Built([BASE, layer(member(".wh..wh..opq"), member("only", b"x")), TOP])
    await store.load(archive(pack(docker_save(image))))
    root = await store.resolve("demo:1", None)
    assert [Path(path).parent.name for path in root.layers] == [sha(image.layers[2]), sha(image.layers[1])]


async def test_devices_of_a_layer_are_left_out_and_an_empty_layer_is_one(
    store: ImageStore, archive: Write
) -> None:
    """Old images bring /dev; builders write layers with nothing in them."""
    devices = layer(
        folder("dev"), member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("etc/passwd", type=tarfile.CHRTYPE), member("dev/sda", type=tarfile.BLKTYPE, devmajor=8),
    )  # fmt: skip
    image = Built([BASE, devices, layer()])
    await store.load(archive(pack(oci(image))))
    root = await store.resolve("demo:1", None)
    assert os.listdir(root.layers[0]) == []
    assert os.listdir(root.layers[1]) == ["dev"]
    assert os.listdir(Path(root.layers[1]) / "dev") == []


async def test_overlay_attributes_of_an_archive_are_dropped(store: ImageStore, archive: Write) -> None:
    """Control data of overlayfs is made by us or not at all."""
    smuggled = member(
        "f", b"x",
        pax_headers={
            "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y",
            "SCHILY.xattr.user.mine": "kept",
        },
    )  # fmt: skip
    await store.load(archive(pack(oci(Built([layer(smuggled)])))))
    root = await store.resolve("demo:1", None)
    assert os.listxattr(Path(root.layers[0]) / "f") == ["user.mine"]


async def test_layers_are_shared_and_go_with_their_last_image(
    store: ImageStore,
    archive: Write,
    state: Path,
    layer_extractions: list[Path],
    nothing_left: Callable[[], None],
) -> None:
    """Two images on one base, in archives of two kinds: three layers; the base stays until both are gone."""
    one, two = Built([BASE, TOP], tag="one:1"), Built([BASE, random_tar(5)], tag="two:1")
    await store.load(archive(pack(docker_save(one))))
    await store.load(archive(pack(oci(two))))
    assert len(layer_extractions) == 3
    assert store.shared_size("one:1") == store.shared_size("two:1") > 0
    await store.remove("one:1", force=False, in_use=lambda _: None)
    assert {path.name for path in (state / "images/layers").iterdir()} == {sha(BASE), sha(two.layers[1])}
    await store.remove("two:1", force=False, in_use=lambda _: None)
    nothing_left()


async def test_twenty_loads_at_once_unpack_each_layer_once(
    store: ImageStore, archive: Write, layer_extractions: list[Path]
) -> None:
    """Of one file, of copies of it, and of another image that shares layers."""
    image, other = Built([BASE, TOP, random_tar(1, 3 << 20)]), Built([BASE, random_tar(2)], tag="other:1")
    paths = [archive(pack(oci(image))) for _ in range(3)] + [archive(pack(docker_save(other)))]
    digests: list[str] = []

    async def load(path: str) -> None:
        digests.extend(each.digest for each in await store.load(path))

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(load, paths[index % 4])
    assert set(digests) == {image.digest, other.digest}
    assert len(digests) == 20
    assert len(layer_extractions) == 4


async def test_load_that_is_cancelled_takes_nobodys_layers(
    store: ImageStore, archive: Write, layer_extractions: list[Path], nothing_left: Callable[[], None]
) -> None:
    """Who waits for a layer that another load gave up unpacks it himself; alone, nothing is left."""
    image, other = Built([BASE, random_tar(1, 20 << 20)]), Built([BASE, random_tar(3)], tag="other:1")
    first, second = archive(pack(oci(image))), archive(pack(oci(other)))
    scope = trio.CancelScope()

    async def given_up() -> None:
        with scope:
            await store.load(first)

    async def patient() -> None:
        with trio.fail_after(within(30)):
            await store.load(second)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(given_up)
        with trio.fail_after(within(20)):
            while not layer_extractions:
                await trio.sleep(0.001)
        nursery.start_soon(patient)
        await trio.testing.wait_all_tasks_blocked(0.01)
        scope.cancel()
    assert [each.names for each in store.list()] == [("other:1",)]
    await store.remove("other:1", force=False, in_use=lambda _: None)
    nothing_left()


async def test_archive_of_several_images_loads_and_does_not_run(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """`run FILE` needs one image; `load` takes them all."""
    one, two = Built([BASE], tag="one:1"), Built([BASE, TOP], tag="registry:5000/team/two:2")
    path = archive(pack(docker_save(one, two)))
    with pytest.raises(ImageError, match="it holds 2 images: one:1, registry:5000/team/two:2"):
        await store.resolve(path, None)
    nothing_left()
    assert len(await store.load(path)) == 2
    assert (await store.resolve("registry:5000/team/two:2", None)).digest == two.digest


async def test_docker_save_with_links_between_layers(store: ImageStore, archive: Write) -> None:
    """docker saves a layer once and links to it, by a relative path."""
    image = Built([BASE, TOP, BASE])
    files = docker_save(image)
    names = [name for name in files if name.endswith("/layer.tar")]
    del files[names[2]]
    (loaded,) = await store.load(archive(pack(files, links={names[2]: f"../{names[0]}"})))
    assert (loaded.digest, loaded.layers) == (image.digest, 3)


async def test_tag_alone_gets_the_files_name(store: ImageStore, archive: Write) -> None:
    """skopeo and umoci write only the tag into a layout; the layout's name is the image's."""
    image = Built([BASE], tag="v1")
    (loaded,) = await store.load(archive(pack(oci(image)), "app.tar"))
    assert loaded.names == ("app:v1",)


async def test_name_that_is_none_leaves_the_image_without(store: ImageStore, archive: Write) -> None:
    """A hostile name is not kept; the image is there by its digest."""
    (loaded,) = await store.load(archive(pack(docker_save(Built([BASE], tag="../\x1b[2J:x")))))
    assert loaded.names == ()
    assert (await store.resolve(loaded.digest, None)).digest == loaded.digest


async def test_layer_may_end_without_padding(store: ImageStore, archive: Write) -> None:
    """umoci writes no block's rest and no end mark; a layer cut within its data is no layer all the same."""
    whole = layer(member("a", b"x"), member("b", b"abc"))
    short = whole[: whole.index(b"abc") + 3]
    await store.load(archive(pack(oci(Built([short])))))
    root = Path((await store.resolve("demo:1", None)).layers[0])
    assert (root / "b").read_bytes() == b"abc"
    with pytest.raises(ImageError, match="truncated"):
        await store.load(archive(pack(oci(Built([short[:-1]])))))


async def test_hardlinks_and_unnamed_folders_in_a_layer(store: ImageStore, archive: Write) -> None:
    """Within a layer everything is as in a root's archive."""
    image = Built([layer(member("a/b/f", b"x"), hardlink("a/g", "a/b/f"))])
    await store.load(archive(pack(oci(image))))
    root = Path((await store.resolve("demo:1", None)).layers[0])
    assert (root / "a/g").stat().st_ino == (root / "a/b/f").stat().st_ino


def without(files: Files, part: str) -> Files:
    return {name: data for name, data in files.items() if part not in name}
