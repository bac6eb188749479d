"""Users are what the container's own files say, or an error: never root by mistake, never a hang."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from inside import Canary, copy_of, run

from wherry import BadRequest, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

SOON = 5.0


@pytest.mark.parametrize(
    "user", ["4294967296", "4294967295", "-1", "+0", "-0", "root\n", " root", "root ", "0x0", "00000000000",
             "1e3", "٠", "0:-1", "0:4294967295", ":0", "0:", ":", "0:0:0", "root\0", "nobody-here",
             "0:nogroup-here", "../root", "x" * 300],
)  # fmt: skip
def test_a_user_that_is_none_is_refused(wherryd: Daemon, busybox: Path, user: str) -> None:
    with pytest.raises(BadRequest):
        run(wherryd, busybox, "id", "-u", user=user)


@pytest.mark.parametrize(
    ("user", "ids"),
    [("", "0 0"), ("0", "0 0"), ("root", "0 0"), ("user", "1000 1000"), ("1000", "1000 1000"), ("7", "7 0"),
     ("4294967294", "4294967294 0"), ("5:6", "5 6"), ("user:extra", "1000 2000"),
     ("0:4294967294", "0 4294967294"), ("007", "7 0")],
)  # fmt: skip
def test_a_user_is_exactly_this(wherryd: Daemon, busybox: Path, user: str, ids: str) -> None:
    result = run(wherryd, busybox, "sh", "-c", "echo $(id -u) $(id -g)", user=user)
    assert result.stdout.decode() == ids + "\n", result


@pytest.mark.parametrize("file", ["passwd", "group"])
@pytest.mark.parametrize("kind", ["fifo", "sparse", "directory", "loop", "device"])
def test_a_file_that_is_none_is_refused_at_once(
    wherryd: Daemon, busybox: Path, ground: Path, file: str, kind: str
) -> None:
    """A fifo that nobody writes, 1 GiB of nothing: the supervisor must neither wait nor swell."""
    image = copy_of(busybox, ground / "image")
    path = image / "etc" / file
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind in {"loop", "device"}:
        path.symlink_to(file if kind == "loop" else "/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 30)
    began = time.monotonic()
    with pytest.raises(WherryError, match=f"/etc/{file}"):
        run(wherryd, image, "true", user="user")
    assert time.monotonic() - began < SOON


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
    with pytest.raises(BadRequest, match="no such user"):
        run(wherryd, image, "true", user="canary")


@pytest.mark.parametrize(
    "line", ["evil:x:4294967296:0::/:", "evil:x:-1:0::/:", "evil:x::0::/:", "evil:x:+0:0::/:", "evil:x:0",
             "evil", "evil:x: 0:0::/:", "evil:x:0x0:0::/:", "evil:x:99999999999999999999:0::/:"],
)  # fmt: skip
def test_a_broken_line_makes_nobody_root(wherryd: Daemon, busybox: Path, ground: Path, line: str) -> None:
    image = copy_of(busybox, ground / "image")
    (image / "etc/passwd").write_text(f"{line}\n")
    with pytest.raises(WherryError):
        run(wherryd, image, "true", user="evil")
