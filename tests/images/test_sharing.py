"""One unpacking for all who ask, and none for what is known; room, restarts and power cuts."""

# a test may block its own loop

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.forms import within
from tarkit import member, random_tar, tar_bytes

from wherry_protocol.errors import BadRequest, ImageError, NoSpace, NotFound
from wherryd.images import archives, extraction, layers
from wherryd.images.layers import LayerStore
from wherryd.images.store import ImageStore

if TYPE_CHECKING:
    import sqlite3

    from wherry_protocol.system import Progress

Write = Callable[..., str]


async def test_twenty_at_once_unpack_once(store: ImageStore, archive: Write, extractions: list[Path]) -> None:
    """All get the same layer, and each hears of the progress."""
    path = archive(gzip.compress(random_tar(1, 5 << 20), 1))
    heard: dict[int, list[Progress]] = {index: [] for index in range(20)}
    layers: list[str] = []

    async def ask(index: int) -> None:
        layers.append((await store.resolve(path, None, heard[index].append)).layers[0])

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(ask, index)
    assert len(extractions) == 1
    assert len(set(layers)) == 1
    assert all(events and events[-1].total == Path(path).stat().st_size for events in heard.values())


async def test_known_file_is_not_read_again(
    store: ImageStore, archive: Write, extractions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run costs one stat, also after a restart of the supervisor."""
    path = archive(random_tar(1))
    first = await store.resolve(path, None)
    monkeypatch.setattr(archives, "_open", None)
    assert await store.resolve(path, None) == first
    assert len(extractions) == 1


async def test_copy_of_a_known_archive_is_not_unpacked_again(
    store: ImageStore, archive: Write, extractions: list[Path]
) -> None:
    """Also when both are asked for at the same time: the digest decides, not the file."""
    paths = [archive(random_tar(1)) for _ in range(3)]
    digests: set[str | None] = set()

    async def ask(path: str) -> None:
        digests.add((await store.resolve(path, None)).digest)

    async with trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(ask, path)
    assert len(digests) == 1
    assert len(extractions) == 1
    assert len(store.list()) == 1


async def test_changed_file_is_a_new_image(store: ImageStore, archive: Write) -> None:
    """Same path, same size, even the same mtime: another content is another image."""
    path = archive(random_tar(1))
    first = await store.resolve(path, None)
    times = Path(path).stat()
    Path(path).write_bytes(random_tar(2))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await store.resolve(path, None)).digest != first.digest


async def test_file_that_changes_while_it_is_read_is_refused(
    store: ImageStore, archive: Write, monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], None]
) -> None:
    """A layer of half the old and half the new file must not get a digest."""
    path = archive(random_tar(1))

    async def growing(fd: int, folder: Path, on_read: Callable[[int], None], *, plain: bool) -> object:
        with open(path, "ab") as file:
            file.write(b"more")
        return await extraction.extract(fd, folder, on_read, plain=plain)

    monkeypatch.setattr(archives, "extract", growing)
    with pytest.raises(ImageError, match="changed while it was being read"):
        await store.resolve(path, None)
    nothing_left()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=200", "small", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
async def test_full_disk_is_said_and_cleaned_up(
    small_disk: Path, archive: Write, database: sqlite3.Connection, what: str
) -> None:
    """A bomb of zeros or of files ends where the disk ends; afterwards the room is there again."""
    store = ImageStore(small_disk / "images", database)
    store.recover()
    before = os.statvfs(small_disk)
    bomb = (
        tar_bytes(member("zeros", bytes(50 << 20))) if what == "bytes"
        else tar_bytes(*(member(f"f{index}") for index in range(500)))
    )  # fmt: skip
    with pytest.raises(NoSpace) as caught:
        await store.resolve(archive(gzip.compress(bomb)), None)
    assert caught.value.errno == errno.ENOSPC
    assert str(small_disk) in str(caught.value)
    after = os.statvfs(small_disk)
    assert (after.f_bfree, after.f_ffree) == (before.f_bfree, before.f_ffree)
    await store.resolve(archive(random_tar(1)), None)


async def test_read_only_state_is_an_error(
    small_disk: Path, archive: Write, database: sqlite3.Connection
) -> None:
    """A disk that turned read-only gives one clear line."""
    store = ImageStore(small_disk / "images", database)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NoSpace, match="Read-only"):
        await store.resolve(archive(random_tar(1)), None)


async def test_swollen_zeros_do_not_swell_the_supervisor(store: ImageStore, archive: Write) -> None:
    """A zstd frame of a gigabyte of zeros is decoded in bounded memory, and known for no archive."""
    import zstandard

    compressor, megabyte = zstandard.ZstdCompressor().compressobj(), bytes(1 << 20)
    frame = b"".join(compressor.compress(megabyte) for _ in range(1024)) + compressor.flush()
    path = archive(frame)
    with pytest.raises(ImageError, match="the archive is empty"):
        await store.resolve(path, None)


async def test_everything_is_known_again_after_a_restart(
    store: ImageStore, archive: Write, state: Path, database: sqlite3.Connection, extractions: list[Path]
) -> None:
    """Names, layers, files; what is half there is removed; a name without its layer is gone."""
    kept, lost = archive(random_tar(1)), archive(random_tar(2))
    before = await store.import_archive(kept, "kept")
    gone = await store.import_archive(lost, "lost")
    layers = state / "images/layers"
    with trio.fail_after(within(30)):
        # Both are being made durable meanwhile, and then get their last file.
        while len(list(layers.glob("*/layer.json"))) < 2 or list(layers.glob("*/settling.json")):
            await trio.sleep(0.01)
    shutil.rmtree(layers / gone.digest.removeprefix("sha256:"))
    (layers / ("0" * 64) / "root").mkdir(parents=True)
    (state / "images/tmp/half/root/deep").mkdir(parents=True)
    again = ImageStore(state / "images", database)
    again.recover()
    assert again.list() == (before,)
    assert list((state / "images/tmp").iterdir()) == []
    assert len(list(layers.iterdir())) == 1
    assert (await again.resolve(kept, None)).digest == before.digest
    assert len(extractions) == 2
    with pytest.raises(NotFound):
        again.find("lost")


async def test_power_cut_leaves_a_whole_layer_or_none(
    archive: Write, state: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the disk has it all a layer counts in this boot only; afterwards always."""
    monkeypatch.setattr(LayerStore, "settle", lambda *_: None)
    store = ImageStore(state / "images", database)
    store.recover()
    path = archive(random_tar(1))
    digest = (await store.resolve(path, None)).digest
    assert digest is not None
    (layer,) = (state / "images/layers").iterdir()
    assert sorted(entry.name for entry in layer.iterdir()) == ["root", "settling.json", "split.zst"]
    settled = state / "settled"
    monkeypatch.undo()
    shutil.copytree(layer, settled / layer.name)
    store.recover()
    assert store.find(digest) == digest, "a crash of the supervisor takes no layer away"
    assert sorted(entry.name for entry in layer.iterdir()) == ["layer.json", "root", "split.zst"]
    for boot_id, left in (("another boot", 1), (None, 0)):
        monkeypatch.setattr(layers, "_boot_id", lambda value=boot_id: value)
        if boot_id is None:
            shutil.rmtree(layer)
            (settled / layer.name).rename(layer)
        store.recover()
        assert len(store.list()) == len(list(layer.parent.iterdir())) == left


async def test_store_of_wherry_0_1_is_taken_over(
    archive: Write, state: Path, database: sqlite3.Connection, extractions: list[Path]
) -> None:
    """There each layer was an image, and said so itself; its names, its file and its containers go on."""
    path = archive(gzip.compress(random_tar(1), mtime=0))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    layer = state / "images/layers" / digest
    (layer / "root").mkdir(parents=True)
    (layer / "root/f").write_bytes(b"x")
    meta = {
        "digest": digest, "created_at": 1.5, "size": 4096, "files": 1,
        "archive_size": Path(path).stat().st_size, "source": path,
    }  # fmt: skip
    (layer / "layer.json").write_text(json.dumps(meta))
    for _ in range(2):
        store = ImageStore(state / "images", database)
        store.recover()
        if not store.list()[0].names:
            store.tag(digest, "old")
    (image,) = store.list()
    assert (image.digest, image.names, image.source) == (f"sha256:{digest}", ("old",), path)
    root = await store.resolve("old", None)
    assert root.layers == (str(layer / "root"),)
    assert (await store.resolve(path, None)).layers == root.layers
    assert extractions == []
    with open("/dev/null", "wb") as nowhere, pytest.raises(BadRequest, match=r"unpacked by wherry 0\.1"):
        await store.save(["old"], nowhere.fileno())
    await store.remove("old", force=False, in_use=lambda _: None)
    assert list((state / "images/layers").iterdir()) == []
