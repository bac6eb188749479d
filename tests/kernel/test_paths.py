"""Paths inside a root: nothing is opened or made outside it, whatever the links say."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from wherryd.kernel.errors import KernelError
from wherryd.kernel.paths import leads_somewhere, make_in_root, open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator
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


SWAP = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = (path.encode() for path in sys.argv[1:])
print("begun", flush=True)
while libc.renameat2(-100, one, -100, other, 2) == 0:  # RENAME_EXCHANGE
    pass
sys.exit("renameat2 failed")
"""


def test_race_for_a_parent_never_leads_out(root: int, tmp_path: Path) -> None:
    """10,000 tries while another process exchanges a directory and a link to the outside."""
    inside, outside, link = tmp_path / "root/swap", tmp_path / "outside", tmp_path / "link"
    inside.mkdir()
    outside.mkdir()
    link.symlink_to(f"../../../../../..{outside}")
    links_seen = 0
    command = [sys.executable, "-c", SWAP, str(inside), str(link)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == "begun\n"
        for _ in range(10_000):
            links_seen += inside.is_symlink()
            with suppress(KernelError):
                os.close(make_in_root(root, "/swap/made", directory=True))
        assert swapper.poll() is None
        swapper.kill()
    assert 0 < links_seen < 10_000, "nothing was ever swapped: this proves nothing"
    assert not list(outside.iterdir())


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


def test_what_a_root_may_have_is_told_without_following_a_link(tmp_path: Path) -> None:
    """A link on the way may lead anywhere, and another layer may have what it leads to."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/nowhere")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        found = {
            path
            for path in ("/a/b", "/a/c", "/file", "/file/x", "/link", "/link/x", "/x/y")
            if leads_somewhere(root, path)
        }
    finally:
        os.close(root)
    assert found == {"/a/b", "/file", "/link", "/link/x"}
