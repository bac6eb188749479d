"""What references mean, what names do, and what may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tarkit import member, random_tar, tar_bytes

from wherry_protocol.errors import BadRequest, Conflict, ImageError, NotFound
from wherryd.images.places import absolute

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.images.store import ImageStore


Write = Callable[..., str]


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


@pytest.mark.parametrize(
    "name", ["host", "", "-x", "a//b", "a/", "../x", "a:b:c", "ü", "a" * 129, "a\n", "a b"]
)
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


async def test_removal_copes_with_any_depth(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """The deepest tree that is let in can also be removed, without a descriptor for each level."""
    path = archive(tar_bytes(member("/".join(["d" * 14] * 256))))  # both bounds are reached
    digest = (await store.resolve(path, None)).digest
    assert digest is not None
    await store.remove(digest, force=False, in_use=unused)
    nothing_left()


@pytest.mark.parametrize(
    ("reference", "path"), [("./a", "/b/a"), (".//a", "/b/a"), ("../a", "/b/../a"), ("a", "/b/a")]
)
def test_a_relative_path_counts_from_the_clients_directory(reference: str, path: str) -> None:
    assert absolute(reference, "/b") == path
