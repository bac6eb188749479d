"""Users are what the container's own files say, or an error: never root by mistake, never a hang."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from inside import Canary, copy_of, refused, sh

from wherry import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

SOON = 5.0


NOBODY = [
    "4294967296", "4294967295", "-1", "+0", "-0", "root\n", " root", "root ", "0x0", "00000000000", "1e3",
    "٠", "0:-1", "0:4294967295", ":0", "0:", ":", "0:0:0", "root\0", "nobody-here", "../root",
    "0:nogroup-here", "x" * 300,
]  # fmt: skip
SOMEBODY = {
    "": "0 0", "0": "0 0", "root": "0 0", "user": "1000 1000", "1000": "1000 1000", "7": "7 0", "007": "7 0",
    "4294967294": "4294967294 0", "5:6": "5 6", "user:extra": "1000 2000", "0:4294967294": "0 4294967294",
}  # fmt: skip
BROKEN = [
    "evil:x:4294967296:0::/:", "evil:x:-1:0::/:", "evil:x::0::/:", "evil:x:+0:0::/:", "evil:x:0", "evil",
    "evil:x: 0:0::/:", "evil:x:0x0:0::/:", "evil:x:99999999999999999999:0::/:",
]  # fmt: skip


def test_a_user_that_is_none_is_refused(wherryd: Daemon, busybox: Path) -> None:
    for user in NOBODY:
        refused(wherryd, busybox, "id", "-u", because=BadRequest, user=user)


def test_a_user_is_exactly_this(wherryd: Daemon, busybox: Path) -> None:
    for user, ids in SOMEBODY.items():
        assert sh(wherryd, busybox, "echo $(id -u) $(id -g)", user=user) == ids + "\n", user


@pytest.mark.parametrize("file", ["passwd", "group"])
def test_a_file_that_is_none_is_refused_at_once(
    wherryd: Daemon, busybox: Path, ground: Path, file: str
) -> None:
    """A fifo that nobody writes, 1 GiB of nothing: the supervisor must neither wait nor swell."""
    image = copy_of(busybox, ground / "image")
    path = image / "etc" / file
    for kind, make in {
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "loop": lambda: path.symlink_to(file),
        "device": lambda: path.symlink_to("/dev/zero"),
        "1 GiB": lambda: (path.touch(), os.truncate(path, 1 << 30)),
    }.items():
        subprocess.run(["rm", "-rf", path], check=True)
        make()
        began = time.monotonic()
        assert f"/etc/{file}" in refused(wherryd, image, "true", user="user"), kind
        assert time.monotonic() - began < SOON, kind


def test_a_broken_line_makes_nobody_root(wherryd: Daemon, busybox: Path, ground: Path) -> None:
    image = copy_of(busybox, ground / "image")
    for line in BROKEN:
        (image / "etc/passwd").write_text(f"{line}\n")
        refused(wherryd, image, "true", user="evil")


@pytest.mark.parametrize("relative", [False, True])
def test_a_link_to_the_hosts_users_is_resolved_inside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary, *, relative: bool
) -> None:
    """The host's file would make `canary` root."""
    users = ground / "passwd"
    users.write_text("canary:x:0:0::/root:/bin/sh\n")
    image = copy_of(busybox, ground / "image")
    (image / "etc/passwd").unlink()
    (image / "etc/passwd").symlink_to("../" * 30 + str(users).lstrip("/") if relative else users)
    assert "no such user" in refused(wherryd, image, "true", because=BadRequest, user="canary")
