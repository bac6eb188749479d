"""Runs of one image in a row: what is made ahead for the next is never what somebody has changed since."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from clikit import ok, wait_for
from support.busybox import make_directory

from wherry import RunSpec
from wherryd.containers.spares import READY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.daemon import Daemon


def new_directory(image: Path) -> None:
    (image / "etc" / "conf.d").mkdir()


def replaced_etc(image: Path) -> None:
    shutil.rmtree(image / "etc")
    (image / "etc").mkdir(mode=0o711)
    (image / "etc" / "motd").write_text("new\n")


def linked_etc(image: Path) -> None:
    (image / "etc").rename(image / "config")
    (image / "etc").symlink_to("config")


def private_root(image: Path) -> None:
    image.chmod(0o700)
    shutil.chown(image, 1000, 1000)


@pytest.mark.parametrize("change", [new_directory, replaced_etc, linked_etc, private_root])
def test_a_change_of_a_directory_image_is_seen_by_the_next_run(
    wherryd: Daemon, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    image = make_directory(tmp_path / "image")
    (image / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    look = ("sh", "-c", "ls -lnad / /etc; ls -ln /etc/ | sed 's/ [A-Z][a-z][a-z] .*:[0-9]*//'")

    def seen() -> str:
        return ok(wherryd, "run", "--rm", image, *look)

    for _ in range(4):
        before = seen()
    change(image)
    after = [seen() for _ in range(3)]
    assert after[0] != before, "the change was not seen"
    fresh = tmp_path / "fresh"
    shutil.copytree(image, fresh, symlinks=True)
    shutil.copystat(image, fresh)
    subprocess.run(["chown", "--reference", image, fresh], check=True)
    expected = ok(wherryd, "run", "--rm", fresh, *look)
    assert _without_times(after[0]) == _without_times(expected), "something of before the change is left"
    assert [_without_times(each) for each in after[1:]] == [_without_times(after[0])] * 2


def _without_times(listing: str) -> list[list[str]]:
    return [[word for word in line.split() if ":" not in word] for line in listing.splitlines()]


def test_two_images_in_turn_get_nothing_of_each_other(wherryd: Daemon, tmp_path: Path) -> None:
    """Twice each, so that something is made ahead, and always for the wrong one."""
    bare = make_directory(tmp_path / "bare")
    shutil.rmtree(bare / "etc", ignore_errors=True)
    full = make_directory(tmp_path / "full")
    (full / "etc" / "conf.d").mkdir(parents=True, exist_ok=True)
    with wherryd.client() as client:
        for image in (bare, bare, full, full) * 4:
            spec = RunSpec(image=str(image), command=("ls", "/etc"), auto_remove=True)
            listed = client.run(spec).stdout.split()
            assert (b"conf.d" in listed) is (image == full)
            kept = client.create(RunSpec(image=str(image), command=("true",)))
            client.start(kept.id)
            client.wait(kept.id)
            changes = [change.path for change in client.diff(kept.id)]
            client.remove(kept.id)
            assert not [path for path in changes if "conf.d" in path]


def test_crowds_of_one_image_leave_nothing_of_what_was_made_ahead(wherryd: Daemon, busybox: Path) -> None:
    def several(number: int) -> list[int | None]:
        with wherryd.client() as client:
            spec = RunSpec(image=str(busybox), command=("sh", "-c", f"exit {number}"), auto_remove=True)
            return [client.run(spec).exit_code for _ in range(15)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(several, range(4))) == [[number] * 15 for number in range(4)]
    spares = wherryd.state_dir / "spare"
    assert wait_for(lambda: len(list(spares.iterdir())) <= READY + 1), "spare directories pile up"
    containers = wherryd.state_dir / "containers"
    assert wait_for(lambda: not list(containers.iterdir())), "the containers are not removed"


def test_the_disk_of_an_image_can_be_unmounted_soon_after_its_last_run(
    wherryd: Daemon, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    try:
        image = make_directory(disk / "image")
        for _ in range(3):
            ok(wherryd, "run", "--rm", image, "true")
    finally:
        umount = ("umount", str(disk))
        free = wait_for(lambda: subprocess.run(umount, capture_output=True, check=False).returncode == 0)
    assert free, "the image's disk stays busy"
