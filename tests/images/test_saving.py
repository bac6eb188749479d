"""save: what went in comes out again, byte for byte, and a changed layer is not passed on."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from support.imagekit import Built, docker_save, folder, layer, member, oci, pack, sha
from tarkit import gnu_tar, hardlink, random_tar, symlink

from wherry_protocol.errors import BadRequest, ImageError, NoSpace, NotFound

if TYPE_CHECKING:
    from wherryd.images.store import ImageStore

Write = Callable[..., str]
RICH = layer(
    folder("d"), member("d/f", b"data" * 3000), hardlink("d/g", "d/f"), symlink("s", "d/f"),
    member("d/.wh.gone"), member("empty"), member("x" * 180, b"long", mtime=1.25), member("d2/.wh..wh..opq"),
)  # fmt: skip


@contextmanager
def target(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    yield fd
    os.close(fd)


async def saved(store: ImageStore, path: Path, *references: str) -> dict[str, bytes]:
    with target(path) as fd:
        size = await store.save(references, fd)
    assert size == path.stat().st_size
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]


async def test_saved_image_is_the_same_image(store: ImageStore, archive: Write, tmp_path: Path) -> None:
    """Config and layers have the bytes and digests that they came with, whatever their compression was."""
    image = Built([RICH, random_tar(1)], {"Cmd": ["x"]})
    await store.load(archive(pack(oci(image))))
    files = await saved(store, tmp_path / "out.tar", "demo:1")
    for data in (*image.layers, image.document):
        assert files[f"blobs/sha256/{sha(data)}"] == data
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["demo:1"]
    (descriptor,) = json.loads(files["index.json"])["manifests"]
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/library/demo:1"
    await store.remove("demo:1", force=False, in_use=lambda _: None)
    (again,) = await store.load(str(tmp_path / "out.tar"))
    assert (again.digest, again.names) == (image.digest, ("demo:1",))


async def test_what_gnu_tar_and_pax_wrote_comes_out_as_it_was(
    store: ImageStore, archive: Write, tmp_path: Path
) -> None:
    """Sparse files, long names, times, attributes: headers are kept, not made again."""
    source = tmp_path / "source"
    (source / ("deep" * 30)).mkdir(parents=True)
    with (source / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"middle" * 1000)
    (source / ("deep" * 30) / ("n" * 120)).write_bytes(b"x" * 70_000)
    os.setxattr(source / "sparse", "user.note", b"kept")
    layers = [
        gnu_tar(source, tmp_path / f"{number}.tar", *options).read_bytes()
        for number, options in enumerate(
            (["--sparse", "--format=gnu"], ["--sparse", "--format=pax", "--xattrs"], ["--format=posix"])
        )
    ]
    await store.load(archive(pack(docker_save(Built(layers)))))
    files = await saved(store, tmp_path / "out.tar", "demo:1")
    assert [sha(files[f"blobs/sha256/{sha(data)}"]) for data in layers] == [sha(data) for data in layers]


async def test_archive_with_files_of_one_name_comes_out_as_it_was(
    store: ImageStore, archive: Write, tmp_path: Path, state: Path
) -> None:
    """What a later entry replaced is kept beside the layer, and nothing where there was none."""
    twice = layer(
        member("f", b"first"), member("f", b"second"), hardlink("g", "f"), member("f", b"third"),
        member("g"), symlink("g", "f"), member("g", b"last"), folder("d"), symlink("d", "f"),
    )  # fmt: skip
    image = Built([twice, random_tar(1)])
    await store.load(archive(pack(oci(image))))
    files = await saved(store, tmp_path / "out.tar", "demo:1")
    assert files[f"blobs/sha256/{sha(twice)}"] == twice
    assert [path.parent.name for path in (state / "images/layers").glob("*/replaced")] == [sha(twice)]


async def test_several_images_share_blobs_and_keep_their_names(
    store: ImageStore, archive: Write, tmp_path: Path
) -> None:
    """Each layer once; an image by digest has no name; a plain archive gets a config."""
    await store.load(
        archive(pack(docker_save(Built([RICH], tag="a:1"), Built([RICH, random_tar(1)], tag="b:1"))))
    )
    await store.import_archive(archive(random_tar(7)), "plain")
    store.tag("a:1", "reg.example:5000/a:2")
    path = tmp_path / "out.tar"
    files = await saved(store, path, "a:1", "reg.example:5000/a:2", store.find("b:1"), "plain")
    entries = json.loads(files["manifest.json"])
    assert [entry["RepoTags"] for entry in entries] == [["a:1", "reg.example:5000/a:2"], [], ["plain:latest"]]
    assert sum(sha(RICH) in name for name in files) == 1
    for image in store.list():
        await store.remove(image.digest, force=True, in_use=lambda _: None)
    loaded = {image.names: image.layers for image in await store.load(str(path))}
    assert loaded == {("a:1", "reg.example:5000/a:2"): 1, (): 2, ("plain:latest",): 1}


async def test_saving_twice_gives_the_same_bytes(store: ImageStore, archive: Write, tmp_path: Path) -> None:
    """No clock and no order that changes."""
    await store.import_archive(archive(random_tar(7)), "plain")
    await saved(store, tmp_path / "one", "plain")
    await saved(store, tmp_path / "two", "plain")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


async def test_changed_layer_is_not_passed_on(
    store: ImageStore, archive: Write, tmp_path: Path, state: Path
) -> None:
    """A file of the store that somebody wrote to, or removed, is found out."""
    await store.load(archive(pack(oci(Built([RICH])))))
    file = state / "images/layers" / sha(RICH) / "root/d/f"
    file.write_bytes(b"evil" * 3000)
    with target(tmp_path / "out") as fd, pytest.raises(ImageError, match="was changed in the store"):
        await store.save(["demo:1"], fd)
    file.unlink()
    (file.parent / "g").unlink()
    with target(tmp_path / "out") as fd, pytest.raises(ImageError, match="d/f: No such file"):
        await store.save(["demo:1"], fd)


async def test_what_cannot_be_saved_is_said(store: ImageStore, archive: Write, tmp_path: Path) -> None:
    """Nothing named, nothing there, no room, nobody who reads, an archive that had a file twice."""
    await store.load(archive(pack(oci(Built([random_tar(1, 3 << 20)])))))
    twice = Built([layer(member("f", bytes(65 << 20)), member("f", b"new"))], tag="twice:1")
    await store.load(archive(pack(oci(twice))))
    with target(tmp_path / "out") as fd:
        with pytest.raises(BadRequest, match="no image is named"):
            await store.save([], fd)
        with pytest.raises(NotFound, match="no image missing"):
            await store.save(["demo:1", "missing"], fd)
        with pytest.raises(BadRequest, match="replace others of more than 64 MiB"):
            await store.save(["twice:1"], fd)
    with target(Path("/dev/full")) as fd, pytest.raises(NoSpace):
        await store.save(["demo:1"], fd)
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(ImageError, match="whoever was to read the archive is gone"):
        await store.save(["demo:1"], writing)
    os.close(writing)


async def test_save_that_is_given_up_ends_its_process(store: ImageStore, archive: Write) -> None:
    """A reader that does not read holds nobody up but this one save."""
    await store.load(archive(pack(oci(Built([random_tar(1, 3 << 20)])))))
    reading, writing = os.pipe()
    with trio.move_on_after(0.5):
        await store.save(["demo:1"], writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert len(pipe.read()) < 1 << 20, "it went on writing"
