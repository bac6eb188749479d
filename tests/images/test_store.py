"""The store: what references mean, one unpacking for all who ask, what may go, and what a crash leaves."""

# the same bytes at every run are what is wanted
# ruff: noqa: S311

# a test may block its own loop
# ruff: noqa: ASYNC220, ASYNC221, ASYNC230, ASYNC240

from __future__ import annotations

import errno
import gzip
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tarkit import member, tar_bytes

from wherry_protocol.errors import BadRequest, Conflict, ImageError, InternalError, NoSpace, NotFound
from wherryd.images import archives, extraction, layers
from wherryd.images.layers import LayerStore
from wherryd.images.store import ImageStore

if TYPE_CHECKING:
    from wherry_protocol.system import Progress

Write = Callable[..., str]


def random_tar(seed: int, size: int = 3000) -> bytes:
    return tar_bytes(member("f", random.Random(seed).randbytes(size)))


@pytest.fixture
def extractions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that workers were started for."""
    started: list[Path] = []

    async def counted(fd: int, folder: Path, on_read: Callable[[int], None]) -> object:
        started.append(folder)
        return await extraction.extract(fd, folder, on_read)

    monkeypatch.setattr(archives, "extract", counted)
    return started


# -- references ---------------------------------------------------------------------------------------------


async def test_name_digest_path_and_file_mean_what_the_rule_says(
    store: ImageStore, archive: Write, tmp_path: Path
) -> None:
    """A name goes before a file of that name; a path is always a path."""
    one, two = archive(random_tar(1), "busybox.tar.gz"), archive(random_tar(2), "busybox")
    summary = await store.import_archive(one, None)
    assert summary.names == ("busybox",)
    base = str(tmp_path)
    by_name = await store.resolve("busybox", base)
    assert by_name.digest == summary.digest
    assert (await store.resolve("busybox:latest", base)).layers == by_name.layers
    assert (await store.resolve(summary.digest, base)).layers == by_name.layers
    assert (await store.resolve(summary.digest.removeprefix("sha256:")[:12], base)).layers == by_name.layers
    assert (await store.resolve("./busybox", base)).digest != summary.digest
    assert (await store.resolve(two, None)).layers == (await store.resolve("./busybox", base)).layers
    assert (await store.resolve("busybox.tar.gz", base)).layers == by_name.layers


async def test_directory_is_used_as_it_is(store: ImageStore, tmp_path: Path) -> None:
    """One layer, no digest, nothing copied; a symlink to it is followed once and for all."""
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "link").symlink_to("rootfs")
    for reference in ("rootfs", "./rootfs", "link", str(tmp_path / "rootfs")):
        image = await store.resolve(reference, str(tmp_path))
        assert image.layers == (str(tmp_path / "rootfs"),)
        assert (image.reference, image.digest, image.binds) == (reference, None, ())


@pytest.mark.parametrize("path", ["/", "//", "/proc/1/root", "{state}", "{state}/images", "{above}"])
async def test_roots_that_would_contain_ourselves_are_refused(
    store: ImageStore, state: Path, path: str
) -> None:
    """Neither the host's root nor the state directory, nor what is above or inside it."""
    with pytest.raises(ImageError):
        await store.resolve(path.format(state=state, above=state.parent), None)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("", BadRequest), ("a\0b", BadRequest), ("../x", BadRequest),
        ("nothing", NotFound), ("a b", NotFound),
        ("/no/such/image", NotFound), ("deadbeefdead", NotFound), ("sha256:" + "0" * 64, NotFound),
    ],
)  # fmt: skip
async def test_reference_to_nothing_is_an_error(
    store: ImageStore, reference: str, kind: type[Exception]
) -> None:
    """Malformed ones are the caller's fault, well-formed ones are not found."""
    with pytest.raises(kind):
        await store.resolve(reference, None)


@pytest.mark.parametrize("name", ["host", "", "-x", "a/b", "../x", "a:b:c", "ü", "a" * 129, "a\n", "a b"])
async def test_bad_name_is_refused_before_anything_is_read(
    store: ImageStore, archive: Write, name: str
) -> None:
    """Names follow one grammar."""
    with pytest.raises(BadRequest, match="no image name"):
        await store.import_archive(archive(random_tar(1)), name)
    assert store.list() == ()


async def test_ambiguous_digest_is_refused(store: ImageStore, archive: Write) -> None:
    """Twelve digits are enough only if one image begins so."""
    for seed in (1, 2):
        await store.import_archive(archive(random_tar(seed)), f"n{seed}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wherryd.images.names.digest_prefix", lambda _: "")
        with pytest.raises(BadRequest, match="2 digests begin so"):
            await store.resolve("aaaaaaaaaaaa", None)


# -- once ---------------------------------------------------------------------------------------------------


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

    async def growing(fd: int, folder: Path, on_read: Callable[[int], None]) -> object:
        with open(path, "ab") as file:
            file.write(b"more")
        return await extraction.extract(fd, folder, on_read)

    monkeypatch.setattr(archives, "extract", growing)
    with pytest.raises(ImageError, match="changed while it was being read"):
        await store.resolve(path, None)
    nothing_left()


# -- cancelling and dying -----------------------------------------------------------------------------------


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """An archive that takes minutes to unpack and little room: headers of empty files, again and again."""
    path = tmp_path / "endless.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(member("f"))[:512] * 1_000_000, 1))
    return str(path)


async def started(progress: list[Progress]) -> None:
    """Wait until the worker has read something."""
    with trio.fail_after(20):
        while not progress:  # noqa: ASYNC110 - what is waited for is a callback of the code under test
            await trio.sleep(0.005)


async def test_last_waiter_cancelled_stops_the_worker(
    store: ImageStore, endless: str, nothing_left: Callable[[], None], state: Path
) -> None:
    """One waiter gone: the others' work goes on. All gone: it ends at once, and leaves nothing."""
    heard: list[Progress] = []
    scopes = [trio.CancelScope() for _ in range(3)]

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(ask, scope)
        await started(heard)
        scopes[0].cancel()
        heard.clear()
        await started(heard)
        scopes[1].cancel()
        scopes[2].cancel()
    nothing_left()


async def test_others_get_their_image_when_one_gives_up(
    store: ImageStore, archive: Write, extractions: list[Path]
) -> None:
    """The first to ask is not special: its going away changes nothing for the second."""
    path = archive(random_tar(1, 3 << 20))
    layers: list[str] = []
    first = trio.CancelScope()

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            layers.append((await store.resolve(path, None)).layers[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    assert len(layers) == len(extractions) == 1


async def test_killed_worker_is_an_error_that_leaves_nothing(
    store: ImageStore, endless: str, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of the worker in the middle."""
    processes: list[trio.Process] = []
    real = trio.lowlevel.open_process

    async def remembered(*args: object, **kwargs: object) -> trio.Process:
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(trio.lowlevel, "open_process", remembered)
    heard: list[Progress] = []

    async def kill() -> None:
        await started(heard)
        processes[0].send_signal(signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(InternalError, match="ended without a word"):
            await store.resolve(endless, None, heard.append)
    nothing_left()


async def test_worker_is_shut_in_while_it_unpacks(
    store: ImageStore, endless: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walls of test_confinement stand when the archive is read, not only when one asks for them."""
    processes: list[trio.Process] = []
    real = trio.lowlevel.open_process

    async def remembered(*args: object, **kwargs: object) -> trio.Process:
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(trio.lowlevel, "open_process", remembered)
    heard: list[Progress] = []
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await started(heard)
        worker = Path(f"/proc/{processes[0].pid}")
        (folder,) = (state / "images/tmp").iterdir()
        assert (worker / "root").stat().st_ino == (folder / "root").stat().st_ino
        assert (worker / "cwd").stat().st_ino == (folder / "root").stat().st_ino
        assert "CapEff:\t000000008000001b" in (worker / "status").read_text()
        assert sorted(os.listdir(worker / "fd")) == ["0", "1", "2"]
        assert (worker / "environ").read_bytes().strip(b"\0") == b""
        for name in ("mnt", "net", "ipc", "uts"):
            assert os.readlink(worker / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")
        scope.cancel()


async def test_worker_ends_with_its_supervisor(endless: str, tmp_path: Path) -> None:
    """A supervisor that is killed leaves no process that goes on filling the disk; the next one cleans up."""
    code = (
        "import sys, trio, sqlite3\nfrom pathlib import Path\nfrom wherryd.images.store import ImageStore\n"
        "store = ImageStore(Path(sys.argv[1]), sqlite3.connect(':memory:', isolation_level=None))\n"
        "store.recover()\n"
        "trio.run(store.resolve, sys.argv[2], None, lambda _: print('reading', flush=True))\n"
    )
    root = tmp_path / "images"
    with subprocess.Popen([sys.executable, "-c", code, root, endless], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        lists = Path(f"/proc/{supervisor.pid}/task").glob("*/children")
        (child,) = [pid for children in lists for pid in children.read_text().split()]
        pidfd = os.pidfd_open(int(child))
        supervisor.kill()
    try:
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    assert list((root / "tmp").iterdir())
    with sqlite3.connect(":memory:", isolation_level=None) as database:
        ImageStore(root, database).recover()
    database.close()
    assert list((root / "tmp").iterdir()) == []


async def test_supervisor_stays_responsive_while_a_bomb_goes_off(store: ImageStore, endless: str) -> None:
    """The loop never waits for an archive."""
    heard: list[Progress] = []
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await started(heard)
        slowest = 0.0
        for _ in range(100):
            before = trio.current_time()
            await trio.sleep(0.001)
            slowest = max(slowest, trio.current_time() - before)
        scope.cancel()
    assert slowest < 0.25


# -- room ---------------------------------------------------------------------------------------------------


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

    path = archive(zstandard.ZstdCompressor().compress(bytes(1 << 30)))
    with pytest.raises(ImageError, match="the archive is empty"):
        await store.resolve(path, None)


# -- names and removal --------------------------------------------------------------------------------------


def unused(_: str) -> None:
    return None


async def test_list_shows_newest_first_with_names(store: ImageStore, archive: Write) -> None:
    """What `wherry images` prints."""
    for seed in (1, 2):
        await store.import_archive(archive(random_tar(seed)), f"name{seed}")
    newest, oldest = store.list()
    assert (newest.names, oldest.names) == (("name2",), ("name1",))
    assert (newest.files, newest.size) == (1, 4096)
    assert newest.source.endswith("image2")
    assert abs(newest.created_at - time.time()) < 60


async def test_name_moves_to_the_newer_image(store: ImageStore, archive: Write) -> None:
    """Importing under a taken name leaves the older image without it; `x` and `x:latest` are one name."""
    first = await store.import_archive(archive(random_tar(1)), "web")
    second = await store.import_archive(archive(random_tar(2)), "web:latest")
    assert store.find("web") == second.digest
    assert [image.names for image in store.list()] == [("web:latest",), ()]
    assert store.find(first.digest) == first.digest


async def test_removing_the_last_name_removes_the_image(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """Until then only the name goes."""
    path = archive(random_tar(1))
    digest = (await store.import_archive(path, "one")).digest
    await store.import_archive(path, "two")
    assert await store.remove("one", force=False, in_use=unused) == ("untagged: one",)
    done = await store.remove("two:latest", force=False, in_use=unused)
    assert done == ("untagged: two", f"deleted: {digest}")
    nothing_left()
    with pytest.raises(NotFound):
        store.find("two")
    assert (await store.resolve(path, None)).digest == digest


async def test_image_in_use_is_kept(store: ImageStore, archive: Write) -> None:
    """Without force nothing happens; with it only the name goes."""
    digest = (await store.import_archive(archive(random_tar(1)), "used")).digest
    users = {digest: "web"}
    with pytest.raises(Conflict, match="used by container web"):
        await store.remove("used", force=False, in_use=users.get)
    assert await store.remove("used", force=True, in_use=users.get) == ("untagged: used",)
    assert [image.names for image in store.list()] == [()]
    with pytest.raises(Conflict):
        await store.remove(digest, force=False, in_use=users.get)
    assert await store.remove(digest, force=True, in_use=users.get) == ()


async def test_image_with_several_names_is_not_removed_by_digest(store: ImageStore, archive: Write) -> None:
    """Unless forced: a digest is typed by mistake more easily than two names."""
    path = archive(random_tar(1))
    for name in ("one", "two"):
        digest = (await store.import_archive(path, name)).digest
    with pytest.raises(Conflict, match="several names: one, two"):
        await store.remove(digest, force=False, in_use=unused)
    done = await store.remove(digest, force=True, in_use=unused)
    assert done == ("untagged: one", "untagged: two", f"deleted: {digest}")


async def test_everything_is_known_again_after_a_restart(
    store: ImageStore, archive: Write, state: Path, database: sqlite3.Connection, extractions: list[Path]
) -> None:
    """Names, layers, files; what is half there is removed; a name without its layer is gone."""
    kept, lost = archive(random_tar(1)), archive(random_tar(2))
    before = await store.import_archive(kept, "kept")
    gone = await store.import_archive(lost, "lost")
    layers = state / "images/layers"
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
    assert sorted(entry.name for entry in layer.iterdir()) == ["root", "settling.json"]
    settled = state / "settled"
    monkeypatch.undo()
    shutil.copytree(layer, settled / layer.name)
    store.recover()
    assert store.find(digest) == digest, "a crash of the supervisor takes no layer away"
    assert sorted(entry.name for entry in layer.iterdir()) == ["layer.json", "root"]
    for boot_id, left in (("another boot", 1), (None, 0)):
        monkeypatch.setattr(layers, "_boot_id", lambda value=boot_id: value)
        if boot_id is None:
            shutil.rmtree(layer)
            (settled / layer.name).rename(layer)
        store.recover()
        assert len(store.list()) == len(list(layer.parent.iterdir())) == left


async def test_removal_copes_with_any_depth(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """The deepest tree that is let in can also be removed, without a descriptor for each level."""
    path = archive(tar_bytes(member("/".join(["d" * 14] * 256))))  # both bounds are reached
    digest = (await store.resolve(path, None)).digest
    assert digest is not None
    await store.remove(digest, force=False, in_use=unused)
    nothing_left()
