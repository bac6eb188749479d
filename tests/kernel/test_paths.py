"""Paths inside a root: nothing is opened or made outside it, whatever the links say."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from wherryd.kernel.errors import KernelError
from wherryd.kernel.paths import make_in_root, open_in_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_PATH)
    yield fd
    os.close(fd)


def place(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.mark.parametrize("link", ["/outside", "../outside", "../../../../../outside", "/../outside"])
def test_links_stay_inside(root: int, tmp_path: Path, link: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/link").symlink_to(link)
    made = place(make_in_root(root, "/link/deep/file", directory=False))
    assert made == str(tmp_path / "root/outside/deep/file")
    assert not list((tmp_path / "outside").iterdir())


def test_dangling_link_has_its_target_made(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/resolv.conf").symlink_to("../run/systemd/stub.conf")
    assert place(make_in_root(root, "/etc/resolv.conf", directory=False)) == str(
        tmp_path / "root/run/systemd/stub.conf"
    )


def test_loop_of_links_is_an_error(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/a").symlink_to("b")
    (tmp_path / "root/b").symlink_to("a")
    with pytest.raises(KernelError) as caught:
        make_in_root(root, "/a", directory=True)
    assert caught.value.errno == errno.ELOOP


def test_growing_links_are_an_error_not_a_hang(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/a").symlink_to("a/b/a")
    with pytest.raises(KernelError) as caught:
        make_in_root(root, "/a/x", directory=True)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("tree", ["proc", "sys", "dev"])
def test_kernels_trees_may_be_no_link(root: int, tmp_path: Path, tree: str) -> None:
    (tmp_path / "root/real").mkdir()
    (tmp_path / "root" / tree).symlink_to("real")
    with pytest.raises(KernelError) as caught:
        open_in_root(root, f"/{tree}")
    assert caught.value.errno == errno.ELOOP
    assert caught.value.hint


def test_parent_that_is_a_file_is_an_error(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/file").touch()
    with pytest.raises(KernelError) as caught:
        make_in_root(root, "/file/below", directory=True)
    assert caught.value.errno == errno.ENOTDIR


def test_race_for_a_parent_never_leads_out(root: int, tmp_path: Path) -> None:
    """10,000 tries while a directory is swapped for a link to the outside and back."""
    inside, outside = tmp_path / "root/swap", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    stop = threading.Event()
    swaps: list[bool] = []

    def swap() -> None:
        spare = tmp_path / "spare"
        moves: tuple[Callable[[], object], ...] = (
            partial(inside.rename, spare),
            partial(os.symlink, outside, inside),
            lambda: swaps.append(inside.is_symlink()),
            inside.unlink,
            partial(spare.rename, inside),
        )
        while not stop.is_set():
            # What the other side makes in between may be in the way of any of these.
            for move in moves:
                with suppress(OSError):
                    move()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        tries = 0
        while tries < 10_000 or (swaps.count(True) < 100 and tries < 1_000_000):
            tries += 1
            try:
                os.close(make_in_root(root, "/swap/made", directory=True))
            except KernelError:
                continue
    finally:
        stop.set()
        thread.join()
    assert not list(outside.iterdir())
    assert any(swaps), "nothing was ever swapped: this proves nothing"


def test_renames_elsewhere_on_the_machine_fail_nothing(root: int, tmp_path: Path) -> None:
    """The kernel answers EAGAIN to a `..` while anything is renamed anywhere: 20,000 tries."""
    (tmp_path / "root/a").mkdir()
    (tmp_path / "root/link").symlink_to("a/../a/../a/../a")
    (tmp_path / "x").touch()
    stop = threading.Event()

    def rename() -> None:
        while not stop.is_set():
            (tmp_path / "x").rename(tmp_path / "y")
            (tmp_path / "y").rename(tmp_path / "x")

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for _ in range(20_000):
            os.close(open_in_root(root, "/link"))
    finally:
        stop.set()
        thread.join()
